//! Log lines: `<prefix>YYYY/MM/DD HH:MM:SS.uuuuuu LEVEL: message` in local time on stderr, or JSON (see [`LogFormat`]).
//!
//! Code logs with `tracing`'s macros; messages are plain text without fields or targets. A
//! statement below the current level costs one load and a branch. tracing has no level above
//! ERROR, so [`fatal!`](crate::fatal!) marks an error as FATAL with a target of its own. What other crates
//! (hyper and the like) have to say is shown at level debug alone.
//!
//! Invariant: one event is one line, written whole; a control character within a message, which
//! may come from a client, is escaped.

mod format;

pub use self::format::LogFormat;

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::log_level::{LiveLevel, LogLevel};

/// Logs a line at level FATAL, which every setting prints. It does not end the program.
#[macro_export]
macro_rules! fatal {
    ($($arg:tt)+) => {
        $crate::logging::tracing_error!(target: $crate::logging::FATAL_TARGET, $($arg)+)
    };
}

#[doc(hidden)]
pub use tracing::error as tracing_error;

/// The target that makes an ERROR a FATAL.
pub const FATAL_TARGET: &str = "nsq::fatal";

/// Begins logging to stderr in `format`: every line of text starts with `prefix`, and `level` rules from now on what
/// is printed. Only a process's first call counts.
pub fn start(prefix: &str, level: &LiveLevel, format: LogFormat) {
    start_with(prefix, level, format, Client::AsTheRest);
}

/// As [`start`], for the small utilities: what the NSQ client in them logs has the form it has in programs that use
/// go-nsq, `YYYY/MM/DD HH:MM:SS INF    1 [topic/channel] (addr) text`, and is printed from INFO on whatever the level.
pub fn start_tool(prefix: &str, level: &LiveLevel) {
    start_with(prefix, level, LogFormat::Text, Client::AsGoNsq);
}

fn start_with(prefix: &str, level: &LiveLevel, format: LogFormat, client: Client) {
    let logger = Logger {
        prefix: prefix.to_owned(),
        level: level.clone(),
        format,
        client,
        sink: Box::new(write_to_stderr),
    };
    // It fails when a logger is there already, such as in tests with several daemons in a process.
    let _ = tracing::subscriber::set_global_default(logger);
}

/// Prints a FATAL line of a start-up failure, before or without [`start`]: always, and with the
/// program's name for a prefix whatever the settings say.
pub fn fatal_at_start(program: &str, message: &str) {
    let mut line = String::new();
    let prefix = format!("[{program}] ");
    let _ = write_line(
        &mut line,
        &prefix,
        &Zoned::now(),
        LogLevel::Fatal,
        format_args!("{message}"),
    );
    write_to_stderr(line.as_bytes());
}

fn write_to_stderr(line: &[u8]) {
    // There is nowhere to report a stderr that takes nothing.
    let _ = std::io::stderr().lock().write_all(line);
}

struct Logger {
    prefix: String,
    level: LiveLevel,
    format: LogFormat,
    client: Client,
    sink: Box<Sink>,
}

/// How lines of the NSQ client look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    AsTheRest,
    AsGoNsq,
}

/// Where whole lines go.
type Sink = dyn Fn(&[u8]) + Send + Sync;

impl Logger {
    fn is_on(&self, metadata: &Metadata<'_>) -> bool {
        if self.is_go_nsq(metadata) {
            return metadata.is_event()
                && level_of(metadata).is_some_and(|level| level >= LogLevel::Info);
        }
        let current = self.level.current();
        metadata.is_event()
            && level_of(metadata).is_some_and(|level| level >= current)
            && (is_ours(metadata.target()) || current == LogLevel::Debug)
    }

    fn is_go_nsq(&self, metadata: &Metadata<'_>) -> bool {
        self.client == Client::AsGoNsq && metadata.target().starts_with("nsq_client")
    }
}

/// A statement's level; `None` for tracing's TRACE, which nothing prints.
fn level_of(metadata: &Metadata<'_>) -> Option<LogLevel> {
    Some(match *metadata.level() {
        Level::ERROR if metadata.target() == FATAL_TARGET => LogLevel::Fatal,
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => return None,
    })
}

/// Whether a target, by default the path of the module that logs, is one of this suite's.
fn is_ours(target: &str) -> bool {
    target.starts_with("nsq") || target.starts_with("to_nsq")
}

impl Subscriber for Logger {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_on(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_on(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let current = match self.client {
            Client::AsTheRest => self.level.current(),
            Client::AsGoNsq => self.level.current().min(LogLevel::Info),
        };
        Some(match current {
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let Some(level) = level_of(event.metadata()) else {
            return;
        };
        let mut message = Message::default();
        event.record(&mut message);
        // Taken out and put back: a message whose formatting logs finds an empty buffer.
        let mut line = LINE.with(RefCell::take);
        line.clear();
        let text = format_args!("{}{}", message.text, message.fields);
        let written = if self.is_go_nsq(event.metadata()) {
            write_client_line(&mut line, &Zoned::now(), level, text)
        } else if self.format == LogFormat::Json {
            format::write_json(&mut line, &self.prefix, &Zoned::now(), level, text)
        } else {
            write_line(&mut line, &self.prefix, &Zoned::now(), level, text)
        };
        if written.is_ok() {
            (self.sink)(line.as_bytes());
        }
        if line.capacity() <= LINE_BYTES_KEPT {
            LINE.with(|kept| kept.replace(line));
        }
    }

    // Spans are not used: they are off, so none of these is called with one that exists.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A line's buffer is kept for the next one up to this size: a rare long line must not cost every
/// thread its length for good.
const LINE_BYTES_KEPT: usize = 4096;

/// An event's text; other crates' events have fields as well.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

fn write_line(
    line: &mut String,
    prefix: &str,
    now: &Zoned,
    level: LogLevel,
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    let micros = now.subsec_nanosecond() / 1000;
    let seconds = seconds_text(now);
    write!(line, "{prefix}{seconds}.{micros:06} {level}: ")?;
    write!(OneLine(line), "{message}")?;
    line.push('\n');
    Ok(())
}

/// A line as go-nsq's `Consumer.log` writes it.
fn write_client_line(
    line: &mut String,
    now: &Zoned,
    level: LogLevel,
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    let level = match level {
        LogLevel::Debug => "DBG",
        LogLevel::Info => "INF",
        LogLevel::Warn => "WRN",
        LogLevel::Error | LogLevel::Fatal => "ERR",
    };
    write!(line, "{} {level:<4} ", seconds_text(now))?;
    write!(OneLine(line), "{message}")?;
    line.push('\n');
    Ok(())
}

/// Prints a line as Go's standard logger does, `YYYY/MM/DD HH:MM:SS text`, on stderr.
pub fn plain_line(text: &str) {
    let mut line = format!("{} ", seconds_text(&Zoned::now()));
    let _ = OneLine(&mut line).write_str(text);
    line.push('\n');
    write_to_stderr(line.as_bytes());
}

/// `YYYY/MM/DD HH:MM:SS`, as Go's logger begins its lines.
pub(crate) fn seconds_text(now: &Zoned) -> String {
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
        now.year(),
        now.month(),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

/// Escapes control characters but the tab.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
            let (clean, tail) = rest.split_at(at);
            self.0.push_str(clean);
            let mut chars = tail.chars();
            if let Some(control) = chars.next() {
                self.0.extend(control.escape_default());
            }
            rest = chars.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Runs `body` under a logger of its own and returns the lines it printed.
    fn lines_of(level: &LiveLevel, body: impl FnOnce()) -> Vec<String> {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&printed);
        let logger = Logger {
            prefix: "[nsqd] ".to_owned(),
            level: level.clone(),
            format: LogFormat::Text,
            client: Client::AsGoNsq,
            sink: Box::new(move |line| {
                let line = String::from_utf8(line.to_vec()).unwrap();
                sink.lock().unwrap().push(line);
            }),
        };
        tracing::subscriber::with_default(logger, body);
        std::mem::take(&mut printed.lock().unwrap())
    }

    fn one_of_each() {
        tracing::debug!("d");
        tracing::info!("i");
        tracing::warn!("w");
        tracing::error!("e");
        crate::fatal!("f {}", 1);
    }

    fn words(lines: &[String]) -> Vec<&str> {
        lines
            .iter()
            .map(|line| line.split(' ').nth(3).unwrap())
            .collect()
    }

    #[test]
    fn a_line_is_prefix_local_time_level_and_message() {
        let now: Zoned = "2025-01-27T12:34:56.000789012[UTC]".parse().unwrap();
        let mut line = String::new();
        let message = format_args!("TCP: listening on {}", "[::]:4150");
        write_line(&mut line, "[nsqd] ", &now, LogLevel::Info, message).unwrap();
        assert_eq!(
            line,
            "[nsqd] 2025/01/27 12:34:56.000789 INFO: TCP: listening on [::]:4150\n"
        );
    }

    #[test]
    fn the_time_is_the_time_zones_own() {
        let now: Zoned = "2025-01-27T12:34:56+05:30[+05:30]".parse().unwrap();
        assert_eq!(seconds_text(&now), "2025/01/27 12:34:56");
    }

    #[test]
    fn control_characters_stay_within_the_line() {
        let level = LiveLevel::default();
        let lines = lines_of(&level, || {
            tracing::info!("a\nb\tc\u{1b}[0m {}", "x\r\u{e9}");
        });
        assert!(
            lines[0].ends_with(" INFO: a\\nb\tc\\u{1b}[0m x\\r\u{e9}\n"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_level_prints_itself_and_all_above_and_changes_at_run_time() {
        let level = LiveLevel::default();
        let lines = lines_of(&level, || {
            for current in [
                LogLevel::Info,
                LogLevel::Debug,
                LogLevel::Warn,
                LogLevel::Error,
                LogLevel::Fatal,
                LogLevel::Info,
            ] {
                level.set(current);
                one_of_each();
            }
        });
        let all = ["DEBUG:", "INFO:", "WARNING:", "ERROR:", "FATAL:"];
        let expected: Vec<_> =
            [&all[1..], &all, &all[2..], &all[3..], &all[4..], &all[1..]].concat();
        assert_eq!(words(&lines), expected);
        assert!(lines.last().unwrap().ends_with(" FATAL: f 1\n"));
    }

    #[test]
    fn other_crates_are_heard_at_level_debug_alone() {
        let level = LiveLevel::default();
        let foreign = || {
            tracing::error!(target: "hyper::proto", "broken");
            tracing::trace!(target: "hyper::proto", "never");
        };
        assert_eq!(lines_of(&level, foreign), Vec::<String>::new());
        level.set(LogLevel::Debug);
        assert_eq!(words(&lines_of(&level, foreign)), ["ERROR:"]);
    }

    #[test]
    fn the_client_in_a_utility_logs_as_go_nsq_does_from_info_on() {
        let level = LiveLevel::default();
        level.set(LogLevel::Error);
        let lines = lines_of(&level, || {
            tracing::debug!(target: "nsq_client::consumer", "no");
            tracing::info!(target: "nsq_client::consumer", "  1 [t/c] (a:1) connecting to nsqd");
            tracing::error!(target: "nsq_client::producer", "(a:1) IO error");
            tracing::info!("no");
        });
        let rest: Vec<_> = lines.iter().map(|line| line.split_at(20).1).collect();
        assert_eq!(
            rest,
            [
                "INF    1 [t/c] (a:1) connecting to nsqd\n",
                "ERR  (a:1) IO error\n"
            ]
        );
    }

    #[test]
    fn a_disabled_statement_does_not_format_its_message() {
        struct Formatted;
        impl fmt::Display for Formatted {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("a disabled message was formatted");
            }
        }
        let lines = lines_of(&LiveLevel::default(), || tracing::debug!("{}", Formatted));
        assert!(lines.is_empty());
    }
}
