//! `--rate`: at most so many records a second.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A bucket that starts with one record and gains one every interval, up to a second's worth. When it is empty, a
/// record waits one interval and is still sent: the rules are upstream's.
#[derive(Debug)]
pub(crate) struct Throttle {
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    interval: Duration,
    most: i64,
    balance: i64,
    counted: Instant,
}

impl Throttle {
    /// `rate` records a second; `None` for no limit.
    pub(crate) fn new(rate: Option<u32>) -> Self {
        if let Some(rate) = rate {
            let text = format!("Throttling messages rate to max:{rate}/second");
            nsq_daemon::logging::plain_line(&text);
        }
        Self {
            bucket: rate.map(|rate| Bucket {
                interval: Duration::from_secs(1) / rate,
                most: rate.into(),
                balance: 1,
                counted: Instant::now(),
            }),
        }
    }

    /// Waits until the next record may go.
    pub(crate) async fn wait(&mut self) {
        let Some(bucket) = &mut self.bucket else {
            return;
        };
        bucket.count(Instant::now());
        if bucket.balance <= 0 {
            sleep(bucket.interval).await;
            bucket.count(Instant::now());
        }
        bucket.balance -= 1;
    }
}

impl Bucket {
    fn count(&mut self, now: Instant) {
        let nanos = self.interval.as_nanos().max(1);
        let ticks = now.duration_since(self.counted).as_nanos() / nanos;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.counted += self.interval * ticks;
        self.balance = (self.balance + i64::from(ticks)).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gains_one_an_interval_up_to_a_second_of_them() {
        let start = Instant::now();
        let mut bucket = Bucket {
            interval: Duration::from_millis(100),
            most: 10,
            balance: 0,
            counted: start,
        };
        bucket.count(start + Duration::from_millis(250));
        assert_eq!(bucket.balance, 2);
        bucket.count(start + Duration::from_millis(300));
        assert_eq!(bucket.balance, 3);
        bucket.count(start + Duration::from_mins(1));
        assert_eq!(bucket.balance, 10);
    }
}
