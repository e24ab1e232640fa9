//! Fuzz bodies of nsqd: its settings, the body of an HTTP MPUB, an authorization server's answer, what nodes of a cluster
//! send each other.

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use nsq_core::Tick;
use nsq_daemon::go_duration::GoDuration;
use nsq_protocol::Limits;
use nsq_server::Action;
use nsq_server::feed::Sink as _;

use crate::auth::grants::read_answer;
use crate::auth::pattern::Patterns;
use crate::cluster::calls::{Call, Changed};
use crate::cluster::consume::codec as consume;
use crate::cluster::route::codec as forwarded;
use crate::http::batch as mpub;
use crate::settings::Settings;

/// The command line and the config file: the same input is accepted or refused each time with the same result, and a
/// duration's text parses to the same duration.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(duration) = text.parse::<GoDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    let (args, file) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    on_disk
        .write_all(file.as_bytes())
        .expect("a temporary file");
    let config = format!("--config={}", on_disk.path().display());
    let mut words = vec![OsString::from(config)];
    // An input must not name other files.
    let other_files = ["config", "tls-", "check", "export", "cert", "key"];
    let is_harmless = |arg: &&str| !other_files.iter().any(|word| arg.contains(word));
    words.extend(args.split('\n').filter(is_harmless).map(OsString::from));
    if other_files.iter().any(|word| file.contains(word)) {
        return;
    }
    match (Settings::load(words.clone()), Settings::load(words)) {
        (Ok(first), Ok(second)) => {
            for key in ["max_rdy_count", "msg_timeout", "log_level", "tls_required"] {
                let value = format!("{:?}", first.config_value(key));
                assert_eq!(value, format!("{:?}", second.config_value(key)));
            }
            assert!(first.max_msg_timeout >= Duration::ZERO);
        }
        (Err(first), Err(second)) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
        (first, second) => panic!("once {first:?}, once {second:?}"),
    }
}

/// The body of an HTTP MPUB in both forms: the messages are slices of the body, in its order and within the limits; and
/// a binary body made of them decodes to the same messages.
pub fn batch(bytes: &[u8]) {
    let limits = Limits {
        max_msg_size: 100,
        max_body_size: 1000,
        max_rdy_count: 2500,
        max_req_timeout: Duration::from_hours(1),
    };
    let Some((&[form], body)) = bytes.split_first_chunk() else {
        return;
    };
    let read = if form.is_multiple_of(2) {
        mpub::binary(body, &limits)
    } else {
        mpub::lines(body, &limits)
    };
    let Ok(messages) = read else {
        return;
    };
    assert!(
        messages
            .iter()
            .all(|message| (1..=100).contains(&message.len()))
    );
    let mut from = 0;
    for message in &messages {
        let place = message.as_ptr() as usize - body.as_ptr() as usize;
        assert!(place >= from && place + message.len() <= body.len());
        from = place + message.len();
    }
    if messages.is_empty() || messages.len() > 199 {
        return;
    }
    let length = |length: usize| u32::try_from(length).expect("short").to_be_bytes();
    let mut again = length(messages.len()).to_vec();
    for message in &messages {
        again.extend_from_slice(&length(message.len()));
        again.extend_from_slice(message);
    }
    assert_eq!(mpub::binary(&again, &limits).ok(), Some(messages));
}

/// An authorization server's answer: checking a permission ends soon, and an answer without authorizations grants
/// nothing.
pub fn auth(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else {
        return;
    };
    let Ok(grants) = read_answer(&answer, &Patterns::default(), Tick::default()) else {
        return;
    };
    let allowed = [
        grants.allow("t", Action::Publish),
        grants.allow("topic#ephemeral", Action::Subscribe("c")),
    ];
    if grants.count == 0 {
        assert_eq!(allowed, [false, false]);
    }
    assert!(!grants.are_expired(Tick::default()));
}

/// What nodes of a cluster send each other, by the first byte: forwarded publishes, their outcomes, questions to a node,
/// what became of a change, orders and events of consumers. What decodes has no other encoding.
pub fn cluster(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let rest = Bytes::copy_from_slice(rest);
    if *kind == CONSUMERS {
        return consumers(&rest);
    }
    let again = match kind % 4 {
        0 => forwarded::decode_call(rest.clone()).ok().map(|publishes| {
            for publish in &publishes {
                assert_eq!(publish.bodies().count(), publish.bodies().len());
            }
            forwarded::encode_call(publishes.iter())
        }),
        1 => {
            let outcomes = forwarded::decode_answer(rest.clone()).ok();
            outcomes.map(|outcomes| forwarded::encode_answer(&outcomes))
        }
        2 => Call::from_bytes(rest.clone())
            .ok()
            .map(|call| call.to_bytes()),
        _ => {
            let changed = Changed::from_bytes(rest.clone()).ok();
            changed.map(|changed| changed.to_bytes())
        }
    };
    assert!(again.is_none_or(|again| again == rest));
}

const CONSUMERS: u8 = 252;

fn consumers(bytes: &Bytes) {
    let again = match consume::Call::from_bytes(bytes.clone()) {
        Ok(consume::Call::Orders(orders)) => orders.to_bytes(),
        Ok(consume::Call::Events(events)) => {
            let mut writer = consume::EventWriter::new(events.opening);
            for event in events.list {
                writer.event(event);
            }
            writer.finish(events.number)
        }
        Err(_) => return,
    };
    assert_eq!(again, *bytes);
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn settings_of_the_corpus() {
        replay("config", super::config);
    }

    #[test]
    fn batches_of_the_corpus() {
        replay("batch", super::batch);
    }

    #[test]
    fn authorizations_of_the_corpus() {
        replay("auth", super::auth);
    }

    #[test]
    fn calls_of_the_corpus() {
        replay("cluster", super::cluster);
    }
}
