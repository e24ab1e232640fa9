//! A channel's figures on all its nodes, and how they show.

use std::time::Duration;

use serde::Deserialize;

/// What one node says of a channel, or several together. An nsqd that does not know a figure leaves it out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Sample {
    depth: i64,
    backend_depth: i64,
    in_flight_count: i64,
    deferred_count: i64,
    requeue_count: i64,
    timeout_count: i64,
    message_count: i64,
    client_count: i64,
}

impl Sample {
    /// Adds another node's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, part) in [
            (&mut self.depth, other.depth),
            (&mut self.backend_depth, other.backend_depth),
            (&mut self.in_flight_count, other.in_flight_count),
            (&mut self.deferred_count, other.deferred_count),
            (&mut self.requeue_count, other.requeue_count),
            (&mut self.timeout_count, other.timeout_count),
            (&mut self.message_count, other.message_count),
            (&mut self.client_count, other.client_count),
        ] {
            *sum = sum.saturating_add(part);
        }
    }

    /// The line of a report, with rates since an earlier sample.
    pub(crate) fn line_since(&self, earlier: &Self, interval: Duration) -> String {
        let came = self.message_count.saturating_sub(earlier.message_count);
        let piled_up = self.depth.saturating_sub(earlier.depth);
        let left = came.saturating_sub(piled_up);
        format!(
            "{:7} {:7} | {:7} {:7} {:7} {:5} {:5} | {:7} {:7} {:12} {:7}",
            per_second(came, interval),
            per_second(left, interval),
            self.depth,
            self.depth.saturating_sub(self.backend_depth),
            self.backend_depth,
            self.in_flight_count,
            self.deferred_count,
            self.requeue_count,
            self.timeout_count,
            self.message_count,
            self.client_count,
        )
    }
}

/// The two lines above the figures.
pub(crate) fn header() -> String {
    let groups = format!("{:-^16}+{:-^37}+{:-^37}", "rate", "depth", "metadata");
    let columns = format!(
        "{:>7} {:>7} | {:>7} {:>7} {:>7} {:>5} {:>5} | {:>7} {:>7} {:>12} {:>7}",
        "ingress",
        "egress",
        "total",
        "mem",
        "disk",
        "inflt",
        "def",
        "req",
        "t-o",
        "msgs",
        "clients"
    );
    format!("{groups}\n{columns}")
}

/// Whole ones, towards zero.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a rate to 53 bits is exact enough, and out of range it is the nearest that is in range"
)]
fn per_second(count: i64, interval: Duration) -> i64 {
    (count as f64 / interval.as_secs_f64()) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_columns_of_the_lines() {
        assert_eq!(
            header(),
            "------rate------+----------------depth----------------+--------------metadata---------------\n\
             ingress  egress |   total     mem    disk inflt   def |     req     t-o         msgs clients"
        );
    }

    #[test]
    fn a_line_has_rates_towards_zero_and_sums_of_the_nodes() {
        let node = |depth, messages| Sample {
            depth,
            backend_depth: 1,
            in_flight_count: 2,
            deferred_count: 3,
            requeue_count: 4,
            timeout_count: 5,
            message_count: messages,
            client_count: 6,
        };
        let mut earlier = node(10, 100);
        earlier.add(&node(0, 0));
        let mut now = node(3, 105);
        now.add(&node(1, 2));
        assert_eq!(
            now.line_since(&earlier, Duration::from_secs(2)),
            "      3       6 |       4       2       2     4     6 |       8      10          107      12"
        );
        // The topic was made again.
        assert_eq!(
            node(1, 0)
                .line_since(&now, Duration::from_secs(2))
                .split('|')
                .next(),
            Some("    -53     -52 ")
        );
    }
}
