//! Publishers and consumers that continue whatever happens to nsqd.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nsq_tests::{Frame, PATIENCE, RawClient, ReadEnd};

use crate::dice::Dice;
use crate::ledger::Ledger;

/// Publishes by PUB, MPUB and DPUB until told to stop, and connects again when nsqd is gone. It rests for `pause` between
/// two commands.
pub(crate) fn publish(
    address: SocketAddr,
    topic: &str,
    number: usize,
    ledger: &Ledger,
    pause: Duration,
) {
    let mut dice = Dice::of(number as u64);
    while ledger.is_publishing() {
        let Some(mut client) = connect(address) else {
            continue;
        };
        while ledger.is_publishing() {
            let delay = Duration::from_millis(dice.pick(&[0, 0, 1, 50, 300, 1000]));
            let count = if delay.is_zero() {
                dice.pick(&[1, 1, 10, 100])
            } else {
                1
            };
            let serials = ledger.send(number, count, Instant::now() + delay);
            let bodies: Vec<String> = serials
                .clone()
                .map(|serial| format!("{number}-{serial}"))
                .collect();
            let command = match (count, delay.as_millis()) {
                (1, 0) => RawClient::command(&format!("PUB {topic}"), bodies[0].as_bytes()),
                (1, delay) => {
                    RawClient::command(&format!("DPUB {topic} {delay}"), bodies[0].as_bytes())
                }
                _ => RawClient::multi_publish(topic, &bodies),
            };
            if client.try_send(&command).is_err() {
                break;
            }
            match answer_of(&mut client) {
                Ok(Frame::Response(text)) if text == "OK" => ledger.acknowledge(number, serials),
                // An nsqd that is on its way out says so, and has not taken it.
                Ok(Frame::Error(text)) if text.ends_with("exiting") => break,
                Err(ReadEnd::Closed) => break,
                other => panic!("a publish was answered by {other:?}"),
            }
            std::thread::sleep(pause);
        }
    }
}

/// The next frame that is no heartbeat; heartbeats are answered.
fn answer_of(client: &mut RawClient) -> Result<Frame, ReadEnd> {
    loop {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "_heartbeat_" => {
                // If nsqd is gone, the next read fails.
                let _ = client.try_send(b"NOP\n");
            }
            other => return other,
        }
    }
}

/// Consumes and finishes until told to stop; a few messages it requeues, touches or forgets,
/// and now and then it vanishes with all that it holds.
pub(crate) fn consume(
    address: SocketAddr,
    topic: &str,
    (channel, channel_name): (usize, &str),
    number: u64,
    ledger: &Ledger,
) {
    let mut dice = Dice::of(number);
    while ledger.is_consuming() {
        let Some(mut client) = connect(address) else {
            continue;
        };
        let subscribe = format!("SUB {topic} {channel_name}\nRDY 100\n");
        if client.try_send(subscribe.as_bytes()).is_err() {
            continue;
        }
        while ledger.is_consuming() {
            let message = match client.next_frame(Duration::from_millis(100)) {
                Ok(Frame::Message(message)) => message,
                // `OK`, a heartbeat, or an answer that came after the timeout.
                Ok(_) => {
                    let _ = client.try_send(b"NOP\n");
                    continue;
                }
                Err(ReadEnd::Silence) => continue,
                Err(ReadEnd::Closed) => break,
            };
            let id = &message.id;
            let answer = match dice.below(1000) {
                0 => {
                    ledger.deliver(channel, &message.text(), false);
                    break;
                }
                1..=10 => Some(format!("REQ {id} 0\n")),
                11..=20 => Some(format!("REQ {id} 200\n")),
                21..=30 => None,
                31..=40 => Some(format!("TOUCH {id}\nFIN {id}\n")),
                _ => Some(format!("FIN {id}\n")),
            };
            let is_finished = answer.as_ref().is_some_and(|text| text.contains("FIN"));
            ledger.deliver(channel, &message.text(), is_finished);
            if let Some(answer) = answer {
                // A lost answer means a repeated message, nothing else.
                let _ = client.try_send(answer.as_bytes());
            }
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> Option<RawClient> {
    let mut client = RawClient::try_connect(address).ok();
    if client
        .as_mut()
        .is_some_and(|client| client.try_send(b"  V2").is_ok())
    {
        return client;
    }
    std::thread::sleep(Duration::from_millis(5));
    None
}
