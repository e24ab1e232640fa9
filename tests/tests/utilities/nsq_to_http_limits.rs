//! nsq_to_http and endpoints that are slow, silent, or want TLS.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nsq_tests::{Fake, Nsqd, Tool};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use crate::endpoint::{answer, post_to, to_http, told};
use crate::messages::{publish, take};
use crate::test_authority::Authority;

#[test]
fn an_https_endpoint_needs_an_authority_that_the_system_knows() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1");
    let endpoint = Nsqd::start(&[
        &format!("--tls-cert={}", issued.cert),
        &format!("--tls-key={}", issued.key),
        "--https-address=127.0.0.1:0",
    ]);
    let nsqd = Nsqd::start(&[]);
    publish(&nsqd, "t", &["by https"]);
    let args = [
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", nsqd.tcp()),
        format!("--post=https://{}/pub?topic=arrived", endpoint.https()),
        "--consumer-opt=default_requeue_delay,1ms".to_owned(),
        "--consumer-opt=backoff_multiplier,1ms".to_owned(),
        "--consumer-opt=max_attempts,0".to_owned(),
    ];
    let stranger = Authority::new().file();
    let mut tool = Tool::start_with("nsq_to_http", &args, ("SSL_CERT_FILE", &stranger));
    tool.wait_for_line("tls: invalid peer certificate: UnknownIssuer");
    assert_eq!(tool.terminate().code(), Some(0));

    let known = authority.file();
    let mut tool = Tool::start_with("nsq_to_http", &args, ("SSL_CERT_FILE", &known));
    assert_eq!(take(&endpoint, "arrived", "check", 1), ["by https"]);
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_has_failed() {
    let nsqd = Nsqd::start(&[]);
    let silent = Fake::start(|_| None);
    publish(&nsqd, "t", &["one"]);
    let flags = [&post_to(&silent, "/"), "--http-client-request-timeout=50ms"];
    let mut tool = to_http(&nsqd, &flags);
    assert_eq!(told(&silent).text(), "one");
    tool.wait_for_line("timeout after 50ms) for msg");
    assert_eq!(told(&silent).text(), "one");
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn an_endpoint_that_does_not_take_the_connection_in_time_has_failed() {
    let nsqd = Nsqd::start(&[]);
    // A listener with room for one connection that is never accepted: the kernel does not answer a second one.
    let listener =
        socket(AddressFamily::INET, SocketType::STREAM, None).expect("there are sockets");
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has free ports");
    listen(&listener, 0).expect("it can listen");
    let address: SocketAddr = getsockname(&listener)
        .expect("it is bound")
        .try_into()
        .expect("it is IP");
    let _room_taken = TcpStream::connect(address).expect("there is room for one");
    publish(&nsqd, "t", &["one"]);
    let post = format!("--post=http://{address}/");
    let mut tool = to_http(&nsqd, &[&post, "--http-client-connect-timeout=50ms"]);
    let line = tool.wait_for_line("Handler returned error");
    assert!(
        line.contains(&format!("dial tcp {address}: i/o timeout")),
        "{line}"
    );
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn what_is_given_up_is_told_and_counted() {
    let nsqd = Nsqd::start(&[]);
    let bad = Fake::start(|_| Some(answer("500 Internal Server Error")));
    publish(&nsqd, "t", &["1", "2"]);
    let flags = [&post_to(&bad, "/"), "--consumer-opt=max_attempts,2"];
    let mut tool = to_http(&nsqd, &flags);
    tool.wait_for_line("attempted 3 times, giving up");
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 0), ("requeue_count", 4)]);
    assert_eq!(tool.terminate().code(), Some(0));
    tool.wait_for_line("WARNING: [t/c] gave up 2 messages after too many attempts");
}

/// Bodies are held once, and only those in flight: the endpoint's pace does not matter.
#[test]
fn large_messages_take_no_more_memory_than_those_in_flight() {
    const COUNT: usize = 120;
    const IN_FLIGHT: u64 = 10;
    let nsqd = Nsqd::start(&[]);
    let slow = Fake::start(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Some(answer("200 OK"))
    });
    let body = vec![b'x'; 1 << 20];
    for _ in 0..COUNT {
        assert_eq!(nsqd.post("/pub?topic=t", &body).status, 200);
    }
    let in_flight = format!("--max-in-flight={IN_FLIGHT}");
    let mut tool = to_http(&nsqd, &[&post_to(&slow, "/"), &in_flight]);
    for _ in 0..COUNT {
        assert_eq!(told(&slow).body.len(), body.len());
    }
    let peak = tool.peak_memory_bytes() >> 20;
    // Of what remains, most is the program itself.
    assert!(peak < 2 * IN_FLIGHT + 40, "{peak} MiB");
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}
