//! Options that are numbers: integers in Go's spelling, and floats.

use std::num::IntErrorKind;

use super::{ConfigValue, FileError, FlagError, FlagShape, OptionValue};

/// Reads an integer as Go does when it picks the base itself: an optional sign, then `0x`, `0o`,
/// `0` (octal), `0b` or nothing (decimal), then digits with single `_` between them.
///
/// # Errors
/// The words a usage error ends with: `parse error` or `value out of range`.
pub fn parse_integer(word: &str) -> Result<i64, &'static str> {
    let (sign, unsigned) = match word.as_bytes().first() {
        Some(b'-') => ("-", &word[1..]),
        Some(b'+') => ("", &word[1..]),
        _ => ("", word),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        // The zero stays: it is a digit, so `0_7` is well formed.
        [b'0', _, ..] => (8, &lower[..]),
        _ => (10, &lower[..]),
    };
    let after_prefix = digits.len() < lower.len();
    let misplaced_underscore = digits.ends_with('_')
        || digits.contains("__")
        || (digits.starts_with('_') && !after_prefix);
    // A second sign would be taken by the standard library's reader.
    if misplaced_underscore || digits.starts_with(['+', '-']) {
        return Err(SYNTAX);
    }
    let plain = format!("{sign}{}", digits.replace('_', ""));
    i64::from_str_radix(&plain, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => RANGE,
        _ => SYNTAX,
    })
}

/// Reads what a config file may give for an integer.
fn integer_from_file(value: &toml::Value) -> Result<i64, FileError> {
    match value {
        toml::Value::Integer(number) => Ok(*number),
        toml::Value::String(text) => text
            .parse()
            .map_err(|_| FileError::Coerce(format!("{text:?} is not a decimal integer"))),
        other => Err(FileError::Coerce(format!(
            "a {} is not an integer",
            other.type_str()
        ))),
    }
}

/// The rule a number broke that is an integer but not one of this option's.
fn range_rule(max: i128) -> String {
    if max >= i128::from(i64::MAX) {
        "must not be negative".to_owned()
    } else {
        format!("must be from 0 to {max}")
    }
}

macro_rules! integer_option {
    ($($ty:ty),+) => { $(
        impl OptionValue for $ty {
            fn shape(&self) -> FlagShape {
                FlagShape::Valued("int")
            }

            fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
                let number = parse_integer(word).map_err(|text| FlagError::Refused(text.to_owned()))?;
                *self = Self::try_from(number)
                    .map_err(|_| FlagError::Refused(range_rule(Self::MAX.into())))?;
                Ok(())
            }

            fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
                *self = Self::try_from(integer_from_file(value)?)
                    .map_err(|_| FileError::Coerce(range_rule(Self::MAX.into())))?;
                Ok(())
            }

            fn usage_default(&self) -> Option<String> {
                (*self != 0).then(|| self.to_string())
            }

            fn config_value(&self) -> ConfigValue {
                ConfigValue::Json(self.to_string())
            }
        }
    )+ };
}

integer_option!(i64, u64, u32, u16);

impl OptionValue for f64 {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("float")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        *self = word
            .parse()
            .map_err(|_| FlagError::Refused(SYNTAX.to_owned()))?;
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        *self = float_from_file(value)?;
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        (*self != 0.0).then(|| self.to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.to_string())
    }
}

/// Reads what a config file may give for a float; a string may have spaces around the number.
/// An integer counts as one: upstream crashes on it, which no one can rely on.
pub(super) fn float_from_file(value: &toml::Value) -> Result<f64, FileError> {
    match value {
        toml::Value::Float(number) => Ok(*number),
        toml::Value::Integer(number) => number
            .to_string()
            .parse()
            .map_err(|_| FileError::Coerce(format!("{number} is not a float"))),
        toml::Value::String(text) => text
            .trim()
            .parse()
            .map_err(|_| FileError::Coerce(format!("{text:?} is not a float"))),
        other => Err(FileError::Coerce(format!(
            "a {} is not a float",
            other.type_str()
        ))),
    }
}

const SYNTAX: &str = "parse error";
const RANGE: &str = "value out of range";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_every_base_go_knows() {
        for (word, number) in [
            ("0", 0),
            ("5", 5),
            ("+5", 5),
            ("-5", -5),
            ("0x1F", 31),
            ("0X1f", 31),
            ("-0x10", -16),
            ("0o17", 15),
            ("017", 15),
            ("0_17", 15),
            ("0b101", 5),
            ("0x_1f", 31),
            ("0b1_0000", 16),
            ("1_000", 1000),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_integer(word), Ok(number), "{word}");
        }
    }

    #[test]
    fn what_is_no_integer_to_go_is_refused() {
        for word in [
            "", "-", "+", "x", "5x", "1.5", " 5", "08", "0x", "0b2", "0o8", "--5", "+-5", "0x-5",
            "_5", "5_", "0_", "0__1", "0x1__f", "0x1_", "1e3",
        ] {
            assert_eq!(parse_integer(word), Err("parse error"), "{word:?}");
        }
        for word in ["9223372036854775808", "-9223372036854775809"] {
            assert_eq!(parse_integer(word), Err("value out of range"), "{word}");
        }
    }

    #[test]
    fn a_number_outside_the_options_range_is_refused_with_the_rule() {
        let rule = |text: &str| Err(FlagError::Refused(text.to_owned()));
        assert_eq!(
            0_u16.set_from_flag("65536"),
            rule("must be from 0 to 65535")
        );
        assert_eq!(0_u64.set_from_flag("-1"), rule("must not be negative"));
    }
}
