//! Options that are words: switches, strings, lengths of time.

use std::time::Duration;

use super::{ConfigValue, FileError, FlagError, FlagShape, OptionValue};
use crate::go_duration::GoDuration;
use crate::go_quote;

/// The words Go takes for a boolean; `None` for any other.
pub fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl OptionValue for bool {
    fn shape(&self) -> FlagShape {
        FlagShape::Switch
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        *self = parse_bool(word).ok_or_else(|| FlagError::Refused("parse error".to_owned()))?;
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        *self = match value {
            toml::Value::Boolean(on) => *on,
            // Compat: integers are inverted, 0 is true and all others false (go-options, coerceBool).
            toml::Value::Integer(number) => *number == 0,
            toml::Value::String(text) => parse_bool(text)
                .ok_or_else(|| FileError::Coerce(format!("{text:?} is not a boolean")))?,
            other => {
                let kind = other.type_str();
                return Err(FileError::Coerce(format!("a {kind} is not a boolean")));
            }
        };
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        self.then(|| "true".to_owned())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.to_string())
    }
}

impl OptionValue for String {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("string")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        word.clone_into(self);
        Ok(())
    }

    /// Numbers and booleans stand for their text; upstream makes `%!s(int64=5)` of them.
    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        *self = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(_) | toml::Value::Table(_) => {
                let kind = value.type_str();
                return Err(FileError::Coerce(format!("a {kind} is not a string")));
            }
            other => other.to_string(),
        };
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        (!self.is_empty()).then(|| go_quote(self).to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Text(self.clone())
    }
}

impl OptionValue for Duration {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("duration")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        let duration: GoDuration = word
            .parse()
            .map_err(|_| FlagError::Refused("parse error".to_owned()))?;
        *self = Self::try_from(duration).map_err(|_| FlagError::Refused(NEGATIVE.to_owned()))?;
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        let duration = match value {
            toml::Value::String(text) => {
                text.parse()
                    .map_err(|error: crate::go_duration::DurationError| {
                        FileError::Coerce(error.to_string())
                    })?
            }
            toml::Value::Integer(millis) => {
                let nanos = millis.checked_mul(NANOS_PER_MILLI).ok_or_else(|| {
                    FileError::Coerce(format!("{millis} milliseconds are out of range"))
                })?;
                GoDuration::from_nanos(nanos)
            }
            other => {
                let kind = other.type_str();
                return Err(FileError::Coerce(format!("a {kind} is not a duration")));
            }
        };
        *self = Self::try_from(duration).map_err(|_| FileError::Coerce(NEGATIVE.to_owned()))?;
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        (!self.is_zero()).then(|| GoDuration::from(*self).to_string())
    }

    fn file_value(&self) -> toml::Value {
        self.usage_default()
            .unwrap_or_else(|| "0s".to_owned())
            .into()
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(GoDuration::from(*self).nanos().to_string())
    }
}

/// For an option whose negative values the program refuses in its own words.
impl OptionValue for GoDuration {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("duration")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        *self = word
            .parse()
            .map_err(|_| FlagError::Refused("parse error".to_owned()))?;
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        let mut duration = Duration::ZERO;
        duration.set_from_file(value)?;
        *self = Self::from(duration);
        Ok(())
    }

    fn file_value(&self) -> toml::Value {
        self.to_string().into()
    }

    fn usage_default(&self) -> Option<String> {
        (self.nanos() != 0).then(|| self.to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.nanos().to_string())
    }
}

const NEGATIVE: &str = "must not be negative";
const NANOS_PER_MILLI: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gos_words_are_booleans() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(word), Some(true), "{word}");
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(word), Some(false), "{word}");
        }
        for word in ["", "yes", "on", "tRUE", "2", " true"] {
            assert_eq!(parse_bool(word), None, "{word}");
        }
    }
}
