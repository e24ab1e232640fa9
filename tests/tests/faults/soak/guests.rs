//! Clients that come and go: readers of ephemeral channels, and a topic that exists only while it has a subscriber.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nsq_tests::{Frame, RawClient};

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::load::connect;

/// Reads a topic through an ephemeral channel for a while, leaves without a word, and comes back under another name.
pub(super) fn read_ephemerally(address: SocketAddr, topic: &str, ledger: &Ledger) {
    let mut dice = Dice::of(200);
    while ledger.is_consuming() {
        let Some(mut client) = connect(address) else {
            continue;
        };
        let channel = format!("tail{}#ephemeral", dice.below(5));
        let ready_count = dice.pick(&[1, 10, 500]);
        let subscribe = format!("SUB {topic} {channel}\nRDY {ready_count}\n");
        if client.try_send(subscribe.as_bytes()).is_err() {
            continue;
        }
        let stay = Duration::from_millis(200 + dice.below(2000));
        let finishes = dice.below(4) > 0;
        read_for(&mut client, stay, ledger, finishes);
    }
}

/// Publishes to an ephemeral topic and reads it, one life of the topic after another.
pub(super) fn chat(address: SocketAddr, ledger: &Ledger) {
    let mut dice = Dice::of(300);
    while ledger.is_consuming() {
        let (Some(mut reader), Some(mut writer)) = (connect(address), connect(address)) else {
            continue;
        };
        let subscribed = reader.try_send(b"SUB chat#ephemeral room#ephemeral\nRDY 10\n");
        if subscribed.is_err() {
            continue;
        }
        for _ in 0..dice.below(100) {
            let publish = RawClient::command("PUB chat#ephemeral", b"hello");
            if writer.try_send(&publish).is_err() {
                break;
            }
            // Its answers go unread: they are few.
            read_for(&mut reader, Duration::from_millis(20), ledger, true);
        }
    }
}

/// Takes messages until `stay` is over or nsqd has closed.
fn read_for(client: &mut RawClient, stay: Duration, ledger: &Ledger, finishes: bool) {
    let end = Instant::now() + stay;
    while ledger.is_consuming() && Instant::now() < end {
        match client.next_frame(Duration::from_millis(50).min(stay)) {
            Ok(Frame::Message(message)) if finishes => {
                let _ = client.try_send(format!("FIN {}\n", message.id).as_bytes());
            }
            Err(nsq_tests::ReadEnd::Closed) => return,
            Ok(_) | Err(nsq_tests::ReadEnd::Silence) => {}
        }
    }
}
