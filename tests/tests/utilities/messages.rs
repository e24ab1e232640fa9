//! Messages of text: published, and taken.

use nsq_tests::Nsqd;

/// Publishes messages over HTTP.
#[track_caller]
pub(crate) fn publish(nsqd: &Nsqd, topic: &str, bodies: &[&str]) {
    for body in bodies {
        let path = format!("/pub?topic={topic}");
        assert_eq!(nsqd.post(&path, body.as_bytes()).status, 200);
    }
}

/// The bodies a new channel has.
#[track_caller]
pub(crate) fn take(nsqd: &Nsqd, topic: &str, channel: &str, count: usize) -> Vec<String> {
    let mut client = nsqd.subscribe(topic, channel, 100);
    (0..count)
        .map(|_| {
            let message = client.expect_message();
            client.finish(&message);
            String::from_utf8(message.body).expect("bodies here are text")
        })
        .collect()
}
