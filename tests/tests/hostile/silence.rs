//! Connections that begin something and never come to its end.

use nsq_tests::{Admin, Daemon, Lookupd, Nsqd, Start};

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::{crowd, wait_until_closed};
use crate::test_authority::Authority;

const CROWD: usize = 100;

#[test]
fn who_never_comes_to_the_point_is_closed_and_holds_up_nobody() {
    let timeouts = [
        "--http-header-timeout=500ms",
        "--http-body-timeout=500ms",
        "--http-idle-timeout=500ms",
    ];
    let tcp_timeout = ["--first-command-timeout=500ms"];
    let both = [&timeouts[..], &tcp_timeout].concat();
    let nsqd = Nsqd::start(&both);
    let lookupd = Lookupd::start_with(&both);
    let admin = Admin::of_nsqds(&[&nsqd], &timeouts);
    let neighbour = Neighbour::of(&nsqd);
    let daemons: [&Daemon; 3] = [&nsqd, &lookupd, &admin];
    let before = daemons.map(Footprint::of);
    let mut silent = Vec::new();
    for beginning in [b"".as_slice(), b"  V2PUB t\n\0\0\x10\0some of it"] {
        silent.extend(crowd(nsqd.tcp(), CROWD, beginning));
    }
    silent.extend(crowd(lookupd.tcp(), CROWD, b"  V1REGIS"));
    for daemon in daemons {
        for beginning in [
            "",
            "GET /ping HTTP/1.1\r\nHost: x\r\nCookie: ",
            // Served, and then idle.
            "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            silent.extend(crowd(daemon.http(), CROWD / 3, beginning.as_bytes()));
        }
    }
    let slow_body = "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome";
    silent.extend(crowd(nsqd.http(), CROWD / 3, slow_body.as_bytes()));
    assert_eq!(nsqd.get("/ping").text(), "OK");
    wait_until_closed(&mut silent);
    neighbour.leave();
    for (daemon, before) in daemons.into_iter().zip(before) {
        before.check_left_alone(daemon, 64);
    }
}

#[test]
fn a_handshake_that_is_only_begun_is_given_up() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1");
    let cert = format!("--tls-cert={}", issued.cert);
    let key = format!("--tls-key={}", issued.key);
    let authority_file = format!("--tls-root-ca-file={}", authority.file());
    let flags: [&str; 4] = [&cert, &key, &authority_file, "--https-address=127.0.0.1:0"];
    let nsqd = Start::with(&flags).now();
    let lookupd = Lookupd::start_with(&[&cert, &key, "--first-command-timeout=2s"]);
    let neighbour = Neighbour::of(&nsqd);
    let before = [Footprint::of(&nsqd), Footprint::of(&lookupd)];
    // The beginning of a ClientHello.
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let mut half_open = crowd(nsqd.https(), CROWD, hello);
    half_open.extend(crowd(lookupd.tcp(), CROWD, hello));
    let settings = br#"{"feature_negotiation":true,"tls_v1":true}"#;
    let mut identify = b"  V2".to_vec();
    identify.extend(nsq_tests::RawClient::command("IDENTIFY", settings));
    identify.extend(hello);
    half_open.extend(crowd(nsqd.tcp(), CROWD, &identify));
    assert_eq!(nsqd.get("/ping").text(), "OK");
    wait_until_closed(&mut half_open);
    neighbour.leave();
    before[0].check_left_alone(&nsqd, 64);
    before[1].check_left_alone(&lookupd, 64);
}
