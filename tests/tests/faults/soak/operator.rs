//! Someone at the HTTP API: looks, and makes, pauses, empties and deletes what is not in the books.

use std::time::Duration;

use nsq_tests::Nsqd;

use crate::dice::Dice;
use crate::ledger::Ledger;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(150);

/// The requests, repeated in any order. Those that change something concern a channel without a reader, and a separate
/// topic.
const REQUESTS: [(&str, &str); 16] = [
    ("GET", "/stats?format=json"),
    ("GET", "/stats"),
    ("GET", "/metrics"),
    ("GET", "/ping"),
    ("GET", "/info"),
    (
        "GET",
        "/stats?format=json&topic=orders&include_clients=false",
    ),
    ("POST", "/channel/create?topic=orders&channel=passing"),
    ("POST", "/channel/pause?topic=orders&channel=passing"),
    ("POST", "/channel/unpause?topic=orders&channel=passing"),
    ("POST", "/channel/empty?topic=orders&channel=passing"),
    ("POST", "/channel/delete?topic=orders&channel=passing"),
    ("POST", "/pub?topic=passing"),
    ("POST", "/pub?topic=passing&defer=60000"),
    ("POST", "/mpub?topic=passing"),
    ("POST", "/topic/empty?topic=passing"),
    ("POST", "/topic/delete?topic=passing"),
];

pub(super) fn operate(nsqd: &Nsqd, ledger: &Ledger) {
    let mut dice = Dice::of(400);
    while ledger.is_consuming() {
        let (method, path) = dice.pick(&REQUESTS);
        let reply = nsqd.request(method, path, b"one\ntwo\nthree");
        // What is asked to go may be gone already.
        assert!(
            [200, 404].contains(&reply.status),
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        std::thread::sleep(PAUSE);
    }
}
