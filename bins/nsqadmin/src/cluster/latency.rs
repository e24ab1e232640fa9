//! Times from publish to FIN, of one node and of several.

use serde::{Deserialize, Serialize};

use super::List;

/// The percentiles of one topic or channel. Times are in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Messages they were taken from.
    pub count: i64,
    /// In the order in which they were first seen: nsqd sends the highest first.
    pub percentiles: List<Percentile>,
    /// Empty for one node.
    #[serde(skip_deserializing)]
    pub topic: String,
    /// Empty for one node, or a topic.
    #[serde(skip_deserializing)]
    pub channel: String,
    /// `*` for several nodes, else empty.
    pub host: String,
}

/// One percentile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentile {
    /// Over several nodes: weighted by their counts.
    pub average: f64,
    /// Messages it was taken from.
    pub count: f64,
    /// The highest of any node.
    pub max: f64,
    /// The lowest of any node.
    pub min: f64,
    /// Which, such as 0.99.
    pub quantile: f64,
    /// What nsqd said; absent over several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

impl Latency {
    /// For several nodes, none of them added yet.
    pub fn of_many(topic: &str, channel: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            channel: channel.to_owned(),
            host: "*".to_owned(),
            ..Self::default()
        }
    }

    /// Fills in what nsqd leaves to the reader: one node's value is its average, lowest and highest.
    pub(super) fn complete(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count = self.count as f64;
        for percentile in self.percentiles.as_mut_slice() {
            let value = percentile.value.unwrap_or_default();
            percentile.average = value;
            percentile.min = value;
            percentile.max = value;
            percentile.count = count;
        }
    }

    /// Adds a node's.
    pub fn add(&mut self, other: &Latency) {
        self.count = self.count.saturating_add(other.count);
        for theirs in &other.percentiles {
            let found = self
                .percentiles
                .as_mut_slice()
                .iter_mut()
                .find(|ours| ours.quantile.total_cmp(&theirs.quantile).is_eq());
            match found {
                Some(ours) => ours.add(theirs),
                None => self.percentiles.push(Percentile {
                    value: None,
                    ..theirs.clone()
                }),
            }
        }
    }
}

impl Percentile {
    fn add(&mut self, other: &Percentile) {
        self.max = self.max.max(other.max);
        self.min = self.min.min(other.min);
        self.count += other.count;
        if self.count > 0.0 {
            self.average += (other.average - self.average) * other.count / self.count;
        } else {
            self.average = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_node(json: &str) -> Latency {
        let mut latency: Latency = serde_json::from_str(json).unwrap();
        latency.complete();
        latency
    }

    #[test]
    fn a_nodes_value_is_its_average_lowest_and_highest() {
        let node = of_node(
            r#"{"count":3,"percentiles":[{"quantile":0.99,"value":20},{"quantile":0.5,"value":7}]}"#,
        );
        assert_eq!(
            serde_json::to_string(&node).unwrap(),
            r#"{"count":3,"percentiles":[{"average":20.0,"count":3.0,"max":20.0,"min":20.0,"quantile":0.99,"value":20.0},{"average":7.0,"count":3.0,"max":7.0,"min":7.0,"quantile":0.5,"value":7.0}],"topic":"","channel":"","host":""}"#
        );
    }

    #[test]
    fn nodes_are_merged_by_their_counts() {
        let mut both = Latency::of_many("t", "c");
        both.add(&of_node(
            r#"{"count":3,"percentiles":[{"quantile":0.99,"value":20}]}"#,
        ));
        both.add(&of_node(
            r#"{"count":1,"percentiles":[{"quantile":0.99,"value":40},{"quantile":0.5,"value":7}]}"#,
        ));
        both.add(&of_node(
            r#"{"count":4,"percentiles":[{"quantile":0.99,"value":30}]}"#,
        ));
        assert_eq!(
            serde_json::to_string(&both).unwrap(),
            r#"{"count":8,"percentiles":[{"average":27.5,"count":8.0,"max":40.0,"min":20.0,"quantile":0.99},{"average":7.0,"count":1.0,"max":7.0,"min":7.0,"quantile":0.5}],"topic":"t","channel":"c","host":"*"}"#
        );
    }

    #[test]
    fn nodes_without_messages_or_percentiles_do_no_harm() {
        let mut both = Latency::of_many("t", "");
        both.add(&of_node(r#"{"count":0,"percentiles":null}"#));
        assert_eq!(
            serde_json::to_string(&both).unwrap(),
            r#"{"count":0,"percentiles":null,"topic":"t","channel":"","host":"*"}"#
        );
        let idle = r#"{"count":0,"percentiles":[{"quantile":0.99,"value":0}]}"#;
        both.add(&of_node(idle));
        both.add(&of_node(idle));
        assert!(both.percentiles[0].average.abs() < f64::EPSILON);
    }
}
