//! A strict reader of `/metrics`: it checks everything that Prometheus and its conventions require.

use std::collections::{BTreeMap, HashSet};

use crate::http::Reply;

/// One answer of `/metrics`, read and checked.
#[derive(Debug)]
pub struct Exposition {
    /// By name and labels as written: `name{label="value"}`.
    samples: BTreeMap<String, f64>,
    /// Kinds by family.
    families: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads an answer; one that breaks a rule fails the test.
    #[track_caller]
    pub fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        let text = reply.text();
        assert!(text.ends_with('\n'));
        let mut read = Self {
            samples: BTreeMap::new(),
            families: BTreeMap::new(),
        };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let head = line
                .strip_prefix("# HELP ")
                .and_then(|rest| rest.split_once(' '));
            let (name, help) = head.unwrap_or_else(|| panic!("no family begins with {line:?}"));
            assert!(help.ends_with('.'), "{line}");
            let line = lines.next().unwrap_or_default();
            let kind = line.strip_prefix(&format!("# TYPE {name} "));
            let kind = kind.unwrap_or_else(|| panic!("no type of {name}: {line:?}"));
            check_name(name, kind);
            let known = read.families.insert(name.into(), kind.into());
            assert_eq!(known, None, "{name} is there twice");
            let mut histograms = Histograms::default();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let sample = Sample::parse(line);
                match kind {
                    "histogram" => histograms.take(name, &sample),
                    _ => assert_eq!(sample.name, name, "{line}"),
                }
                if kind != "gauge" {
                    assert!(sample.value >= 0.0, "{line}");
                }
                let known = read.samples.insert(sample.key(), sample.value);
                assert_eq!(known, None, "twice: {line}");
            }
            histograms.finish(name);
        }
        read
    }

    /// The value of a sample, such as `nsqd_topic_depth_messages{topic="t"}`.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample);
        *value.unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples))
    }

    /// Returns whether there is a sample whose text contains this.
    pub fn mentions(&self, text: &str) -> bool {
        self.samples.keys().any(|key| key.contains(text))
    }

    /// The names of all families, in order.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// The sum of a family's samples.
    pub fn sum(&self, family: &str) -> f64 {
        let of_family = |key: &str| key.split('{').next() == Some(family);
        let samples = self.samples.iter().filter(|(key, _)| of_family(key));
        samples.map(|(_, value)| value).sum()
    }

    /// Panics if a counter is lower than it was in `before`, or gone.
    #[track_caller]
    pub fn check_grown_since(&self, before: &Self, families: &str) {
        for (key, value) in before
            .samples
            .iter()
            .filter(|(key, _)| key.starts_with(families))
        {
            let name = key.split('{').next().unwrap_or_default();
            if before
                .families
                .get(name)
                .is_some_and(|kind| kind == "counter")
            {
                assert!(self.value(key) >= *value, "{key} was {value}");
            }
        }
    }
}

/// Names are lower case with base units; only counters, and all of them, end in `_total`.
#[track_caller]
fn check_name(name: &str, kind: &str) {
    assert!(
        ["gauge", "counter", "histogram"].contains(&kind),
        "{name}: {kind}"
    );
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(name.bytes().all(is_fit), "{name}");
    assert_eq!(
        name.ends_with("_total"),
        kind == "counter",
        "{name}: {kind}"
    );
    assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
    for word in name.split('_') {
        let other_units = [
            "ms",
            "us",
            "ns",
            "milliseconds",
            "microseconds",
            "nanoseconds",
            "minutes",
            "hours",
            "kilobytes",
            "megabytes",
            "kb",
            "mb",
            "percent",
            "bucket",
            "sum",
            "count",
        ];
        assert!(!other_units.contains(&word), "{name}");
    }
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value = value
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line:?}"));
        let (name, mut rest) = match series.split_once('{') {
            None => (series, ""),
            Some((name, rest)) => {
                let labels = rest.strip_suffix('}');
                (name, labels.unwrap_or_else(|| panic!("{line:?}")))
            }
        };
        let mut labels = vec![];
        while !rest.is_empty() {
            let (label, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            // No name here contains a character that has to be escaped.
            let (value, behind) = behind.split_once('"').unwrap_or_else(|| panic!("{line:?}"));
            assert!(!value.contains('\\'), "{line:?}");
            labels.push((label.to_string(), value.to_string()));
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        let mut names = HashSet::new();
        assert!(
            labels.iter().all(|(name, _)| names.insert(name)),
            "{line:?}"
        );
        Self {
            name: name.into(),
            labels,
            value,
        }
    }

    fn key(&self) -> String {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        if labels.is_empty() {
            return self.name.clone();
        }
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

/// The histograms of one family: buckets grow with their bounds, the last is infinite and equals the count.
#[derive(Default)]
struct Histograms(BTreeMap<Vec<(String, String)>, Histogram>);

#[derive(Debug, Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

impl Histograms {
    #[track_caller]
    fn take(&mut self, family: &str, sample: &Sample) {
        let mut labels = sample.labels.clone();
        let bound = labels
            .iter()
            .position(|(name, _)| name == "le")
            .map(|at| labels.remove(at).1);
        let histogram = self.0.entry(labels).or_default();
        match (sample.name.strip_prefix(family), bound) {
            (Some("_bucket"), Some(bound)) => {
                let bound = bound.parse().expect("a bound is a number, or +Inf");
                histogram.buckets.push((bound, sample.value));
            }
            (Some("_sum"), None) => histogram.sum = Some(sample.value),
            (Some("_count"), None) => histogram.count = Some(sample.value),
            _ => panic!("{} in {family}", sample.key()),
        }
    }

    #[track_caller]
    fn finish(self, family: &str) {
        for (labels, histogram) in self.0 {
            let told = format!("{family} {labels:?}: {histogram:?}");
            let pairs = histogram.buckets.windows(2);
            for pair in pairs {
                assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{told}");
            }
            let last = histogram
                .buckets
                .last()
                .map(|(bound, count)| (bound.is_infinite(), Some(*count)));
            assert_eq!(last, Some((true, histogram.count)), "{told}");
            assert!(histogram.sum.is_some(), "{told}");
        }
    }
}
