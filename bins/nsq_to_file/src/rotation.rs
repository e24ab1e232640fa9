//! When an open file has had its time.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nsq_daemon::go_duration::GoDuration;

/// `--rotate-size` and `--rotate-interval`; `None` for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) size: Option<u64>,
    pub(crate) interval: Option<Duration>,
}

/// An open file as far as rotation is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current<'a> {
    /// As the format had it when it was opened.
    pub(crate) name: &'a str,
    pub(crate) age: Duration,
    /// Before compression.
    pub(crate) size_bytes: u64,
    pub(crate) path: &'a std::path::Path,
}

/// Why a file is to be closed. `Display` is the log's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    Name(String),
    Age(Duration),
    Size {
        path: PathBuf,
        bytes: u64,
        limit: u64,
    },
}

impl Rotation {
    /// Whether the next message goes elsewhere. `name` is what a file opened now would be called.
    pub(crate) fn due(&self, current: &Current<'_>, name: &str) -> Option<Reason> {
        if current.name != name {
            return Some(Reason::Name(name.to_owned()));
        }
        if self.interval.is_some_and(|limit| current.age > limit) {
            return Some(Reason::Age(current.age));
        }
        self.too_big(current.size_bytes, current.path)
    }

    /// Whether a file is past the size that it may have.
    pub(crate) fn too_big(&self, bytes: u64, path: &std::path::Path) -> Option<Reason> {
        let limit = self.size.filter(|limit| bytes > *limit)?;
        let path = path.to_owned();
        Some(Reason::Size { path, bytes, limit })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "new filename {name}, rotating..."),
            Self::Age(age) => {
                let age = GoDuration::from(*age);
                write!(f, "{age} since last open, rotating...")
            }
            Self::Size { path, bytes, limit } => {
                let path = path.display();
                write!(f, "{path} currently {bytes} bytes (> {limit}), rotating...")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(rotation: Rotation, seconds: u64, size_bytes: u64, name: &str) -> Option<String> {
        let current = Current {
            name: "a",
            age: Duration::from_secs(seconds),
            size_bytes,
            path: "/x/a".as_ref(),
        };
        rotation
            .due(&current, name)
            .map(|reason| reason.to_string())
    }

    #[test]
    fn a_new_name_always_rotates() {
        let never = Rotation::default();
        assert_eq!(due(never, 1_000_000, u64::MAX, "a"), None);
        assert_eq!(
            due(never, 0, 0, "b").as_deref(),
            Some("new filename b, rotating...")
        );
    }

    #[test]
    fn size_and_age_rotate_once_they_are_past_their_limits() {
        let rotation = Rotation {
            size: Some(100),
            interval: Some(Duration::from_secs(90)),
        };
        assert_eq!(due(rotation, 90, 100, "a"), None);
        assert_eq!(
            due(rotation, 90, 101, "a").as_deref(),
            Some("/x/a currently 101 bytes (> 100), rotating...")
        );
        assert_eq!(
            due(rotation, 91, 0, "a").as_deref(),
            Some("1m31s since last open, rotating...")
        );
    }
}
