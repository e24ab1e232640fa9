//! Figures in the text format that Prometheus reads, written again for each scrape from what the program counts anyway.
//!
//! The classic format rather than OpenMetrics: every scraper takes it, and `promtool check metrics` too.

mod durations;
mod process;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

pub use durations::{DURATION_BOUNDS, Durations};
pub use process::write_process;

use crate::http::header::{CONTENT_TYPE, HeaderValue};
use crate::http::{Reply, StatusCode};
use crate::version;

/// The answer to one scrape, while it is written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    /// To catch a name that is used twice.
    #[cfg(debug_assertions)]
    names: std::collections::HashSet<&'static str>,
}

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Names and values that tell one sample of a family from the others.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a family that only grows; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, Kind::Counter)
    }

    /// Begins a family that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(!name.ends_with("_total"), "{name}");
        self.family(name, help, Kind::Gauge)
    }

    /// Begins a family of times counted by bucket, shown in seconds.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> HistogramFamily<'_> {
        debug_assert!(name.ends_with("_seconds"), "{name}");
        HistogramFamily(self.family(name, help, Kind::Histogram))
    }

    /// The version and the build that run, as labels of a constant.
    pub fn build_info(&mut self, name: &'static str) {
        let labels = [
            ("version", version::VERSION),
            ("built_with", version::BUILT_WITH),
            ("build", version::RELEASE),
            ("commit", version::COMMIT),
        ];
        self.gauge(name, "The version that runs, always 1.")
            .sample(&labels, 1_u64);
    }

    /// The answer.
    pub fn into_reply(self) -> Reply {
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        Reply::plain(StatusCode::OK, self.text).with_header(CONTENT_TYPE, content_type)
    }

    fn family(&mut self, name: &'static str, help: &str, kind: Kind) -> Family<'_> {
        #[cfg(debug_assertions)]
        assert!(self.names.insert(name), "{name} is there already");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let text = &mut self.text;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(NEVER_FULL);
        Family { text, name }
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Into<Value>) {
        self.write("", labels, None, value.into());
    }

    fn write(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: Value) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let labels = labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (name, value) in labels {
            write!(self.text, "{separator}{name}=\"{}\"", Escaped(value)).expect(NEVER_FULL);
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect(NEVER_FULL);
    }
}

/// A family of histograms being written.
#[derive(Debug)]
pub struct HistogramFamily<'a>(Family<'a>);

impl HistogramFamily<'_> {
    /// Writes one histogram: how many lie up to each of `bounds_nanos` but above the one before, and, last, above all.
    pub fn sample(
        &mut self,
        labels: Labels<'_>,
        bounds_nanos: &[u64],
        counts: &[u64],
        sum_nanos: u128,
    ) {
        let mut count_so_far = 0;
        for (at, count) in counts.iter().enumerate() {
            count_so_far += count;
            let bound = bounds_nanos.get(at);
            let bound = bound.map_or_else(
                || "+Inf".to_owned(),
                |&nanos| seconds(nanos.into()).to_string(),
            );
            self.0
                .write("_bucket", labels, Some(&bound), count_so_far.into());
        }
        self.0
            .write("_sum", labels, None, Value::Float(seconds(sum_nanos)));
        self.0.write("_count", labels, None, count_so_far.into());
    }
}

#[expect(clippy::cast_precision_loss, reason = "sixteen digits are enough")]
fn seconds(nanos: u128) -> f64 {
    nanos as f64 / 1e9
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count.
    Integer(u64),
    /// A measurement.
    Float(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(value) => value.fmt(f),
            Value::Float(value) => value.fmt(f),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Integer(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Integer(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}

/// A label's value as it stands between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'"' => "\\\"",
                _ => "\\n",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

const NEVER_FULL: &str = "a String takes everything";
