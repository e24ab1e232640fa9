//! Timers that go off together.
//!
//! A node has a few timers for each group, and each goes off several times a second. At random times, they would wake an idle
//! node hundreds of times a second, one after the other. Those that need not be exact wait for the next step instead, which is
//! the same for all of them.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits for about as long as `duration`: until the last step within it, or for one step if it is shorter than that.
pub async fn pause(duration: Duration) {
    let now = Instant::now();
    sleep_until(at_or_after(now + duration.saturating_sub(STEP) + MARGIN)).await;
}

/// The first step at or after `at`.
pub(crate) fn at_or_after(at: Instant) -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    let step = STEP.as_nanos();
    let beyond = at.saturating_duration_since(first).as_nanos() % step;
    // In tests, another clock may have been the first one.
    let before = first.saturating_duration_since(at).as_nanos();
    let wait = (before + step - beyond) % step;
    at + Duration::from_nanos(u64::try_from(wait).expect("it is less than a step"))
}

/// Half the time between two heartbeats.
const STEP: Duration = Duration::from_millis(100);
/// Who is woken for a step does not wait for the same one again.
const MARGIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_began_at_different_times_goes_off_together() {
        let waiting = [0, 7, 23, 98].map(|late| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(late)).await;
                let begun = Instant::now();
                for _ in 0..10 {
                    pause(Duration::from_millis(200)).await;
                }
                (begun, Instant::now())
            })
        });
        let mut ends = vec![];
        for waiting in waiting {
            let (begun, end) = waiting.await.unwrap();
            let took = end - begun;
            assert!(took >= 19 * STEP, "{took:?}");
            assert!(took <= 21 * STEP, "{took:?}");
            ends.push(end);
        }
        // Each of them ends at a step, and a timer is at most a millisecond late.
        let first = at_or_after(Instant::now());
        for end in ends {
            let late = (first - end).as_nanos() % STEP.as_nanos();
            let is_in_step = late == 0 || late >= (STEP.saturating_sub(MARGIN)).as_nanos();
            assert!(is_in_step, "{end:?} is not in step with {first:?}");
        }
    }
}
