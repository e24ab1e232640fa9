//! `--filename-format`: what a topic's files are called.

use jiff::Zoned;
use regex::Regex;

use crate::strftime;

/// The format with everything filled in that stays the same for a topic's whole life.
#[derive(Debug, Clone)]
pub(crate) struct FileNames {
    /// Has `<DATETIME>` and, where revisions are used, `<REV>`.
    format: String,
    /// As `format`, but with `<PID>`.
    any_process: String,
    datetime_format: String,
}

/// What goes into the names.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) filename_format: &'a str,
    pub(crate) datetime_format: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) host_identifier: &'a str,
    pub(crate) process: u32,
    pub(crate) is_gzip: bool,
    /// Whether a name may be used again for another file.
    pub(crate) needs_revision: bool,
}

/// The format has no place for the revision.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("missing <REV> in --filename-format when gzip, rotation, or work dir enabled")]
pub(crate) struct MissingRevision;

impl FileNames {
    pub(crate) fn new(parts: &Parts<'_>) -> Result<Self, MissingRevision> {
        let mut format = parts.filename_format.to_owned();
        if !parts.needs_revision {
            format = format.replace(REVISION, "");
        } else if !format.contains(REVISION) {
            return Err(MissingRevision);
        }
        let any_process = format
            .replace("<TOPIC>", parts.topic)
            .replace("<HOST>", &host(parts.hostname, parts.host_identifier));
        let mut any_process = any_process.trim_start_matches('/').to_owned();
        if parts.is_gzip && !has_gzip_suffix(&any_process) {
            any_process.push_str(".gz");
        }
        Ok(Self {
            format: any_process.replace(PROCESS, &parts.process.to_string()),
            any_process,
            datetime_format: parts.datetime_format.to_owned(),
        })
    }

    /// The name at a moment, still with `<REV>`.
    pub(crate) fn at(&self, now: &Zoned) -> String {
        let datetime = strftime::strftime(&self.datetime_format, now);
        self.format.replace(DATETIME, &datetime)
    }

    /// A regular expression for each part of the path of files that this topic has had, or another process for it.
    pub(crate) fn past_names(&self) -> Vec<Regex> {
        let format = self.any_process.replace('%', "%%");
        format
            .replace(DATETIME, &self.datetime_format)
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .filter_map(|part| {
                let text = strftime::regex(part)
                    .replacen(&regex::escape(REVISION), r"(?<rev>-\d{6,})", 1)
                    .replace(&regex::escape(REVISION), r"-\d{6,}")
                    .replace(&regex::escape(PROCESS), r"\d+");
                // Escaped text and our own groups always are an expression; a huge one may be refused.
                Regex::new(&format!("^{text}$")).ok()
            })
            .collect()
    }
}

/// A name with its revision filled in.
pub(crate) fn with_revision(name: &str, revision: u64) -> String {
    name.replace(REVISION, &format!("-{revision:06}"))
}

fn host(hostname: &str, identifier: &str) -> String {
    let short = hostname.split('.').next().unwrap_or_default();
    if identifier.is_empty() {
        return short.to_owned();
    }
    identifier
        .replace("<SHORT_HOST>", short)
        .replace("<HOSTNAME>", hostname)
}

fn has_gzip_suffix(name: &str) -> bool {
    std::path::Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "gz")
        || name == ".gz"
}

/// Where the revision goes.
pub(crate) const REVISION: &str = "<REV>";
const DATETIME: &str = "<DATETIME>";
const PROCESS: &str = "<PID>";

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(filename_format: &'a str, host_identifier: &'a str) -> Parts<'a> {
        Parts {
            filename_format,
            datetime_format: "%Y-%m-%d_%H",
            topic: "orders",
            hostname: "box.example.org",
            host_identifier,
            process: 17,
            is_gzip: false,
            needs_revision: true,
        }
    }

    fn moment() -> Zoned {
        "2026-03-05T15:07:09[UTC]".parse().unwrap()
    }

    #[test]
    fn every_token_is_filled_in_wherever_it_stands() {
        let default = "<TOPIC>.<HOST><REV>.<DATETIME>.log";
        for (format, identifier, expected) in [
            (default, "", "orders.box<REV>.2026-03-05_15.log"),
            (
                default,
                "a-<SHORT_HOST>",
                "orders.a-box<REV>.2026-03-05_15.log",
            ),
            (
                default,
                "<HOSTNAME>",
                "orders.box.example.org<REV>.2026-03-05_15.log",
            ),
            ("<REV><PID>/<PID><TOPIC>", "", "<REV>17/17orders"),
            ("/<TOPIC><REV>", "", "orders<REV>"),
        ] {
            let names = FileNames::new(&parts(format, identifier)).unwrap();
            assert_eq!(names.at(&moment()), expected, "{format}");
        }
        assert_eq!(with_revision("a<REV>.log", 7), "a-000007.log");
    }

    #[test]
    fn the_revision_is_taken_out_or_insisted_on() {
        let mut parts = parts("<TOPIC><REV>.log", "");
        parts.needs_revision = false;
        let names = FileNames::new(&parts).unwrap();
        assert_eq!(names.at(&moment()), "orders.log");
        parts.needs_revision = true;
        parts.filename_format = "<TOPIC>.log";
        assert_eq!(FileNames::new(&parts).unwrap_err(), MissingRevision);
    }

    #[test]
    fn gzip_files_end_in_gz_once() {
        for (format, expected) in [
            ("<TOPIC><REV>", "orders<REV>.gz"),
            ("<TOPIC><REV>.gz", "orders<REV>.gz"),
        ] {
            let mut parts = parts(format, "");
            parts.is_gzip = true;
            let names = FileNames::new(&parts).unwrap();
            assert_eq!(names.at(&moment()), expected);
        }
    }

    #[test]
    fn past_names_are_those_of_any_time_revision_and_process() {
        let mut parts = parts("<DATETIME>/<TOPIC>.<PID><REV>.5%.log", "");
        parts.datetime_format = "%Y/%m";
        let past = FileNames::new(&parts).unwrap().past_names();
        assert_eq!(past.len(), 3);
        assert!(past[0].is_match("1999") && past[1].is_match("12"));
        let found = past[2].captures("orders.4-000012.5%.log").unwrap();
        assert_eq!(&found["rev"], "-000012");
        for other in [
            "orders.4.5%.log",
            "orders.4-000012.5%.log.gz",
            "other.4-000012.5%.log",
        ] {
            assert!(!past[2].is_match(other), "{other}");
        }
    }
}
