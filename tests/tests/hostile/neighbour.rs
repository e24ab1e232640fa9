//! A well-behaved client next to the hostile ones: it publishes, consumes, and expects every message in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nsq_tests::{Nsqd, RawClient};

/// Works in a thread of its own until [`Neighbour::leave`].
pub(crate) struct Neighbour {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Neighbour {
    /// Moves in. Its connections are there when this returns.
    #[track_caller]
    pub(crate) fn of(nsqd: &Nsqd) -> Self {
        let mut consumer = nsqd.subscribe("good", "c", 10);
        let mut producer = nsqd.connect();
        producer.publish("good", "first");
        let message = consumer.expect_body("first");
        consumer.finish(&message);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) || count == 0 {
                exchange(&mut producer, &mut consumer, count);
                count += 1;
                // It has other things to do as well.
                std::thread::sleep(Duration::from_millis(2));
            }
            count
        });
        Self { is_over, thread }
    }

    /// Leaves, having had all of its messages; each within the time that tests wait.
    #[track_caller]
    pub(crate) fn leave(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let count = self.thread.join();
        let count = count.unwrap_or_else(|why| std::panic::resume_unwind(why));
        assert!(count > 0, "it got nothing done");
    }
}

fn exchange(producer: &mut RawClient, consumer: &mut RawClient, index: usize) {
    let body = format!("{index} {}", "x".repeat(index % 500));
    producer.publish("good", &body);
    let message = consumer.expect_body(&body);
    consumer.finish(&message);
}
