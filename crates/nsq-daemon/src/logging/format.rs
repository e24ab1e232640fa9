//! How a log line looks: upstream's text, or JSON for programs that collect logs.

use std::fmt::{self, Write as _};

use jiff::Zoned;

use crate::go_quote;
use crate::log_level::LogLevel;
use crate::options::{ConfigValue, FileError, FileValue, FlagError, FlagShape, OptionValue};

/// The two forms.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `<prefix>YYYY/MM/DD HH:MM:SS.uuuuuu LEVEL: message`.
    #[default]
    Text,
    /// One object a line: `{"time":"<RFC 3339, microseconds>","level":"info","logger":"nsqd","message":"..."}`. The
    /// logger is the log prefix without brackets and spaces around it, left out where that is empty.
    Json,
}

impl LogFormat {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl OptionValue for LogFormat {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("string")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        *self = match word {
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return Err(FlagError::Refused("must be text or json".to_owned())),
        };
        Ok(())
    }

    fn set_from_file(&mut self, value: &FileValue) -> Result<(), FileError> {
        let word = value.as_str().ok_or(FileError::UnknownWord)?;
        self.set_from_flag(word).map_err(|_| FileError::UnknownWord)
    }

    fn usage_default(&self) -> Option<String> {
        Some(go_quote(self.word()).to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Text(self.word().to_owned())
    }
}

/// Writes a line of JSON, with its end.
pub(super) fn write_json(
    line: &mut String,
    prefix: &str,
    now: &Zoned,
    level: LogLevel,
    message: fmt::Arguments<'_>,
) -> fmt::Result {
    let time = now.timestamp();
    write!(
        line,
        "{{\"time\":\"{time:.6}\",\"level\":\"{}\"",
        level.word()
    )?;
    let logger = prefix.trim().trim_matches(['[', ']']).trim();
    if !logger.is_empty() {
        write!(line, ",\"logger\":{}", quoted(logger))?;
    }
    writeln!(line, ",\"message\":{}}}", quoted(&message.to_string()))
}

fn quoted(text: &str) -> serde_json::Value {
    serde_json::Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object() {
        let now: Zoned = "2026-01-27T12:34:56.789[UTC]".parse().unwrap();
        let mut line = String::new();
        let message = format_args!("a \"b\"\nc");
        write_json(&mut line, "[nsqd] ", &now, LogLevel::Warn, message).unwrap();
        assert_eq!(
            line,
            "{\"time\":\"2026-01-27T12:34:56.789000Z\",\"level\":\"warn\",\"logger\":\"nsqd\",\"message\":\"a \\\"b\\\"\\nc\"}\n"
        );
        line.clear();
        write_json(&mut line, " ", &now, LogLevel::Fatal, format_args!("x")).unwrap();
        assert!(
            line.contains("\"level\":\"fatal\",\"message\":\"x\""),
            "{line}"
        );
    }

    #[test]
    fn there_are_two_words() {
        let mut format = LogFormat::default();
        format.set_from_flag("json").unwrap();
        assert_eq!(format, LogFormat::Json);
        assert!(format.set_from_flag("JSON").is_err());
        assert!(format.set_from_file(&FileValue::Integer(1)).is_err());
    }
}
