//! Segment files by name: `<log>.<ordinal, at least 8 digits>.log`, or `.log.bad` when put aside.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::LogError;
use crate::error::{Context, FileError};

/// The segment files of a folder, looked up once to open many logs in it.
#[derive(Debug, Default)]
pub struct Listing {
    logs: HashMap<String, Ordinals>,
}

/// The files of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ordinals {
    pub(crate) present: Vec<u32>,
    /// After all there are and those put aside.
    pub(crate) next: u32,
}

impl Listing {
    /// Looks through a folder; one that does not exist has no files.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn of(folder: &Path) -> Result<Self, LogError> {
        Ok(Self::filtered(folder, |_| true)?)
    }

    pub(crate) fn of_log(folder: &Path, log: &str) -> Result<Self, FileError> {
        Self::filtered(folder, |name| name == log)
    }

    /// Whether a log of that name was begun.
    pub fn has(&self, log: &str) -> bool {
        self.logs
            .get(log)
            .is_some_and(|log| !log.present.is_empty())
    }

    /// The names of the logs that have files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    pub(crate) fn ordinals(&self, log: &str) -> Ordinals {
        self.logs.get(log).cloned().unwrap_or_default()
    }

    fn filtered(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, FileError> {
        let mut listing = Self::default();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            entries => entries.context("list", folder)?,
        };
        for entry in entries {
            let file = entry.context("list", folder)?.file_name();
            if let Some((name, ordinal, is_present)) = file.to_str().and_then(parse)
                && wanted(name)
            {
                let log = listing.logs.entry(name.to_owned()).or_default();
                log.next = log.next.max(ordinal.saturating_add(1));
                if is_present {
                    log.present.push(ordinal);
                }
            }
        }
        Ok(listing)
    }
}

/// A segment file's name.
pub(crate) fn file_name(log: &str, ordinal: u32) -> String {
    format!("{log}.{ordinal:08}{EXTENSION}")
}

/// Log and ordinal of a file name, and whether the file is in use rather than put aside.
fn parse(file: &str) -> Option<(&str, u32, bool)> {
    let in_use = file.strip_suffix(ASIDE);
    let (log, number) = in_use
        .unwrap_or(file)
        .strip_suffix(EXTENSION)?
        .rsplit_once('.')?;
    let is_number = number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
    let ordinal = number.parse().ok();
    let ordinal = ordinal.filter(|&ordinal| is_number && ordinal <= MAX_ORDINAL)?;
    Some((log, ordinal, in_use.is_none()))
}

/// A file beyond it is not ours: a log that counts on from there must not run out of numbers.
pub(crate) const MAX_ORDINAL: u32 = u32::MAX / 2;
const EXTENSION: &str = ".log";
/// What a file that cannot be understood gets after its name.
pub(crate) const ASIDE: &str = ".bad";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_made() {
        assert_eq!(parse(&file_name("a.b", 7)), Some(("a.b", 7, true)));
        let (largest, beyond) = (MAX_ORDINAL, MAX_ORDINAL + 1);
        assert_eq!(parse(&file_name("a", largest)), Some(("a", largest, true)));
        assert_eq!(parse(&file_name("a", beyond)), None);
        assert_eq!(parse("a.00000001.log.bad"), Some(("a", 1, false)));
        let nested = file_name("a.00000001.log", 2);
        assert_eq!(parse(&nested), Some(("a.00000001.log", 2, true)));
        for other in [
            "a.log",
            "a.1.log",
            "a.0000000x.log",
            "a.99999999999.log",
            "nsqd.dat",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
