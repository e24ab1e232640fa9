//! go-nsq on an nsqd that is killed again and again. `KILLS` says how often. One kill under each of go-nsq, pynsq and nsqjs
//! is among the scenarios that all libraries go through.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nsq_tests::{ClientLibrary, Start, say_loudly};

use crate::dice::Dice;
use crate::kills::kill_count;

/// A kill takes a second at most, and at the end there is a message timeout.
const PATIENCE_AT_THE_END: Duration = Duration::from_mins(1);

#[test]
fn go_nsq_loses_nothing_by_kills() {
    let Some(library) = ClientLibrary::go() else {
        return;
    };
    let kills = kill_count();
    let mut nsqd = Start::default().keeping_ports().now();
    let address = nsqd.tcp();
    let start = Instant::now();
    let is_over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let program = scope.spawn(|| {
            let limit = Duration::from_secs(kills) + PATIENCE_AT_THE_END;
            library.converse("kills", &[address], limit, |line| {
                let more = if is_over.load(Relaxed) { "no" } else { "yes" };
                (line == "more").then(|| more.to_owned())
            })
        });
        let mut dice = Dice::of(0);
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(200 + dice.below(300)));
            nsqd.kill9();
            nsqd.start_again();
        }
        is_over.store(true, Relaxed);
        program.join().expect("the program's own checks hold")
    });
    say_loudly(&format!(
        "go-nsq, {kills} kills in {:?}: {report}",
        start.elapsed()
    ));
    assert!(report.contains(" 0 lost"), "{report}");
}
