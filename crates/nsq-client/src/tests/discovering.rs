use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::PATIENCE;
use super::fake_nsqd::FakeNsqd;
use crate::{Config, Consumer};

/// An nsqlookupd that answers its first question with an nsqd, the next `silent` ones with none, and then with that nsqd
/// again. Returns its address, and how many questions it was asked.
async fn fake_nsqlookupd(nsqd: &FakeNsqd, silent: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let nsqd = nsqd.address();
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
            let number = count.fetch_add(1, Ordering::Relaxed);
            let (host, port) = nsqd.rsplit_once(':').unwrap();
            let producers = if (1..=silent).contains(&number) {
                String::new()
            } else {
                format!(r#"{{"broadcast_address":"{host}","tcp_port":{port}}}"#)
            };
            let body = format!(r#"{{"channels":[],"producers":[{producers}]}}"#);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-NSQ-Content-Type: nsq; version=1.0\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_consumer_that_lost_every_nsqd_asks_again_soon_and_ever_less_often() {
    let nsqd = FakeNsqd::start().await;
    let (lookup, asked) = fake_nsqlookupd(&nsqd, 2).await;
    let config = Config {
        lookupd_poll_interval: Duration::from_mins(1),
        lookupd_poll_jitter: 0.0,
        ..Config::default()
    };
    let consumer = Consumer::new("t", "c", config).unwrap();
    let (found, client) = tokio::join!(consumer.connect_to_nsqlookupd(&lookup), nsqd.subscribed());
    found.unwrap();

    drop(client);
    let began = Instant::now();
    let _client = nsqd.subscribed().await;
    // At once, or a second after the question before; then after one second, and after two.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 4);

    timeout(PATIENCE, consumer.stop()).await.unwrap();
}
