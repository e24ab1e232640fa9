//! An HTTP server that nsq_to_http sends messages to.

use nsq_tests::{Fake, Nsqd, PATIENCE, Told, Tool};

/// An answer with this status.
pub(crate) fn answer(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK").into_bytes()
}

/// The next request.
#[track_caller]
pub(crate) fn told(server: &Fake) -> Told {
    server.told.recv_timeout(PATIENCE).expect("a request comes")
}

/// nsq_to_http between an nsqd and what else is said; retries come at once.
#[track_caller]
pub(crate) fn to_http(nsqd: &Nsqd, flags: &[&str]) -> Tool {
    let address = format!("--nsqd-tcp-address={}", nsqd.tcp());
    let base = [
        "--topic=t",
        "--channel=c",
        &address,
        "--consumer-opt=default_requeue_delay,1ms",
        "--consumer-opt=backoff_multiplier,1ms",
    ];
    Tool::start("nsq_to_http", &[&base[..], flags].concat())
}

/// The flag that has messages POSTed to a path of it.
pub(crate) fn post_to(server: &Fake, path: &str) -> String {
    format!("--post=http://{}{path}", server.address)
}
