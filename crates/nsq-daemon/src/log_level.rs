//! How much is logged: five levels, one of them current, changeable while the program runs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::options::{ConfigValue, FileError, FlagError, FlagShape, OptionValue, PutError};

/// How serious a line is. The numbers are what `/config/log_level` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// All there is, message bodies too.
    Debug = 1,
    /// What an operator follows.
    Info = 2,
    /// Something to look at.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// The program cannot continue.
    Fatal = 5,
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid log level '{0}' (debug, info, warn, error, fatal)")]
pub struct UnknownLogLevel(String);

impl LogLevel {
    const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Fatal,
    ];

    /// The number 1 to 5.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for LogLevel {
    /// The word a log line carries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            // Compat: the line says WARNING, the flag's word is `warn` alone (internal/lg).
            Self::Warn => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        })
    }
}

impl LogLevel {
    /// The word that flag and config file take.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    /// `debug`, `info`, `warn`, `error` or `fatal`, in any letter case.
    fn from_str(word: &str) -> Result<Self, UnknownLogLevel> {
        Ok(match word.to_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            _ => return Err(UnknownLogLevel(word.to_owned())),
        })
    }
}

/// The level in force. Clones share it: the option in a program's table and the logger are two
/// ends of one.
#[derive(Debug, Clone)]
pub struct LiveLevel {
    number: Arc<AtomicU8>,
}

impl LiveLevel {
    /// A level of its own, shared with no one yet.
    pub fn new(level: LogLevel) -> Self {
        Self {
            number: Arc::new(AtomicU8::new(level.number())),
        }
    }

    /// The least serious level that is printed.
    pub fn current(&self) -> LogLevel {
        let number = self.number.load(Ordering::Relaxed);
        LogLevel::ALL[usize::from(number - LogLevel::Debug.number())]
    }

    /// Changes the level for every clone, from the next line on.
    pub fn set(&self, level: LogLevel) {
        self.number.store(level.number(), Ordering::Relaxed);
        // Each log statement caches whether it is on; let them ask again.
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Default for LiveLevel {
    fn default() -> Self {
        Self::new(LogLevel::Info)
    }
}

impl OptionValue for LiveLevel {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        let level: LogLevel = word
            .parse()
            .map_err(|error: UnknownLogLevel| FlagError::Refused(error.to_string()))?;
        self.set(level);
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        let word = value.as_str().ok_or(FileError::UnknownWord)?;
        let level = word.parse().map_err(|_| FileError::UnknownWord)?;
        self.set(level);
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        Some(self.current().to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.current().number().to_string())
    }

    fn file_value(&self) -> toml::Value {
        self.current().word().into()
    }

    fn adopt(&self, value: &toml::Value) -> Result<(), PutError> {
        self.clone()
            .set_from_file(value)
            .map_err(|_| PutError::InvalidValue)
    }

    /// Takes the bare word: no quotes, no newline.
    fn put(&self, body: &[u8]) -> Result<(), PutError> {
        let word = std::str::from_utf8(body).map_err(|_| PutError::InvalidValue)?;
        self.set(word.parse().map_err(|_| PutError::InvalidValue)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_case_are_levels_and_warning_is_not() {
        for (word, level) in [
            ("debug", LogLevel::Debug),
            ("INFO", LogLevel::Info),
            ("Warn", LogLevel::Warn),
            ("error", LogLevel::Error),
            ("fatal", LogLevel::Fatal),
        ] {
            assert_eq!(word.parse(), Ok(level));
        }
        for word in ["warning", "", " info", "info\n", "\"info\"", "2"] {
            assert!(word.parse::<LogLevel>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_put_changes_every_clone_and_shows_the_number() {
        let level = LiveLevel::default();
        let clone = level.clone();
        for (number, current) in (1..).zip(LogLevel::ALL) {
            let word = match current {
                LogLevel::Warn => "warn".to_owned(),
                other => other.to_string(),
            };
            assert_eq!(level.put(word.as_bytes()), Ok(()));
            assert_eq!(clone.current(), current);
            assert_eq!(
                level.config_value(),
                ConfigValue::Json(i32::to_string(&number))
            );
        }
        assert_eq!(level.put(b"\"info\""), Err(PutError::InvalidValue));
        assert_eq!(clone.current(), LogLevel::Fatal);
    }

    #[test]
    fn a_wrong_word_is_told_in_the_flags_and_in_the_files_way() {
        let mut level = LiveLevel::default();
        assert_eq!(
            level.set_from_flag("foo"),
            Err(FlagError::Refused(
                "invalid log level 'foo' (debug, info, warn, error, fatal)".to_owned()
            ))
        );
        assert_eq!(
            level.set_from_file(&toml::Value::from("foo")),
            Err(FileError::UnknownWord)
        );
        assert_eq!(
            level.set_from_file(&toml::Value::from(2)),
            Err(FileError::UnknownWord)
        );
        assert_eq!(level.current(), LogLevel::Info);
    }
}
