//! Bytes that mean nothing, to every port of every daemon.

use std::io::Write as _;

use nsq_tests::{Admin, Daemon, Lookupd, Nsqd};

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::connect;

const ROUNDS: u64 = 60;

/// The same at every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % 3000;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn bytes_that_mean_nothing_end_their_own_connection_alone() {
    let nsqd = Nsqd::start(&[]);
    let lookupd = Lookupd::start();
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    let neighbour = Neighbour::of(&nsqd);
    let daemons: [&Daemon; 3] = [&nsqd, &lookupd, &admin];
    let before = daemons.map(Footprint::of);
    let tcp: [&[u8]; 9] = [
        b"",
        b"  V2",
        b"  V2IDENTIFY\n\0\0\x01\0",
        b"  V2PUB t\n\0\0\0\x10",
        b"  V2MPUB t\n\0\0\x01\0\0\0\0\x02",
        b"  V2SUB t#ephemeral c#ephemeral\n",
        b"  V1",
        b"  V1IDENTIFY\n\0\0\x01\0",
        b"\x16\x03\x01\x02\0\x01\0",
    ];
    let http: [&[u8]; 4] = [
        b"",
        b"GET /stats?format=",
        b"POST /mpub?topic=t&binary=true HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n",
        b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..ROUNDS {
        for (ports, beginnings) in [
            (&[nsqd.tcp(), lookupd.tcp()][..], &tcp[..]),
            (&[nsqd.http(), lookupd.http(), admin.http()], &http),
        ] {
            for port in ports {
                let at = usize::try_from(noise.next() % beginnings.len() as u64);
                let mut stream = connect(*port);
                let _ = stream.write_all(beginnings[at.expect("it is small")]);
                let _ = stream.write_all(&noise.bytes());
            }
        }
    }
    neighbour.leave();
    for (daemon, before) in daemons.into_iter().zip(before) {
        before.check_left_alone(daemon, 64);
    }
    assert_eq!(nsqd.get("/ping").text(), "OK");
}
