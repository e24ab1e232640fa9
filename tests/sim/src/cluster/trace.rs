//! What happens in a run: the log lines of all nodes and of the simulation, with virtual times.

use std::fmt::{self, Write as _};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::machine::lock;
use super::model::seconds;
use crate::clock;

/// Writes log lines to the standard error output, or keeps none.
pub(super) struct Trace {
    pub(super) is_shown: bool,
    pub(super) folder: String,
    /// Of all lines: two runs with the same lines have the same number.
    pub(super) digest: &'static Mutex<u64>,
}

impl Subscriber for Trace {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= tracing::Level::INFO && !about.target().starts_with("openraft")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let now = clock::nanos();
        let mut digest = lock(self.digest);
        // The folder of the run has another name each time.
        for byte in line
            .0
            .replace(self.folder.as_str(), "")
            .bytes()
            .chain(now.to_le_bytes())
        {
            *digest = (*digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        drop(digest);
        if self.is_shown {
            let host = super::machine::current();
            let host = host.map_or("-".to_owned(), |host| host.to_string());
            eprintln!("{:>8} {host} {}", seconds(now), line.0);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}
