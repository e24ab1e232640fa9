//! Compressed streams that unfold to far more than they are, that break off, or never end.

use std::io::Write as _;
use std::net::TcpStream;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use nsq_tests::{Nsqd, RawClient};
use serde_json::json;

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::{connect, wait_until_closed};

type Pack = fn(&[u8]) -> Vec<u8>;

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.flush().expect("memory takes it");
    encoder.get_ref().clone()
}

/// Snappy's framing format, in chunks of 64 KiB.
fn snapped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.into_inner().expect("memory takes it")
}

/// A connection with the compression on, which has sent these bytes as they are.
fn sent(nsqd: &Nsqd, feature: &str, stream: &[u8]) -> TcpStream {
    let settings = json!({"feature_negotiation": true, feature: true}).to_string();
    let mut connection = connect(nsqd.tcp());
    let identify = RawClient::command("IDENTIFY", settings.as_bytes());
    let start = [b"  V2".as_slice(), &identify].concat();
    connection.write_all(&start).expect("it takes it");
    // It may be closed before all is there.
    let _ = connection.write_all(stream);
    connection
}

#[test]
fn a_stream_that_unfolds_without_end_meets_the_limits_of_plain_bytes() {
    let nsqd = Nsqd::start(&[]);
    let neighbour = Neighbour::of(&nsqd);
    let before = Footprint::of(&nsqd);
    let packs: [(&str, Pack); 2] = [("deflate", deflated), ("snappy", snapped)];
    for (feature, pack) in packs {
        // A line without end; a size beyond all; a body that is less than was promised.
        let line = pack(&vec![b'x'; 16 << 20]);
        let size = pack(&[b"PUB t\n\x7f\xff\xff\xff".as_slice(), &vec![0; 4 << 20]].concat());
        let mut doomed: Vec<_> = [&line, &size]
            .iter()
            .flat_map(|stream| (0..4).map(|_| sent(&nsqd, feature, stream)))
            .collect();
        wait_until_closed(&mut doomed);
        // Good commands, a thousandfold smaller than they are.
        let commands = pack(&b"NOP\n".repeat(250_000));
        let _busy = sent(&nsqd, feature, &commands);
        // Streams that break off, anywhere.
        let publish = pack(&RawClient::command("PUB bombs", &vec![0; 100_000]));
        for part in 1..20 {
            sent(&nsqd, feature, &publish[..publish.len() * part / 20]);
        }
        // Bytes that are no stream.
        let noise: Vec<u8> = (0..50_000_u32)
            .map(|at| (at * at / 7).to_le_bytes()[0])
            .collect();
        wait_until_closed(&mut [sent(&nsqd, feature, &noise)]);
        before.check_memory(&nsqd, 64);
    }
    neighbour.leave();
    before.check_left_alone(&nsqd, 64);
    assert_eq!(
        nsqd.topic("bombs"),
        serde_json::Value::Null,
        "half a command is none"
    );
}
