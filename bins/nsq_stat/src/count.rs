//! The value of `--count`.

use nsq_daemon::go_quote;
use nsq_daemon::options::{ConfigValue, FileError, FileValue, FlagError, FlagShape, OptionValue};

/// A number that is not there unless it was given; decimal, of 32 bits, perhaps negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<i32>);

impl OptionValue for Count {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        let number = word.parse().map_err(|error: std::num::ParseIntError| {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let word = go_quote(word);
            FlagError::Refused(format!("strconv.ParseInt: parsing {word}: {why}"))
        })?;
        self.0 = Some(number);
        Ok(())
    }

    fn set_from_file(&mut self, _: &FileValue) -> Result<(), FileError> {
        Err(FileError::Coerce(
            "the utilities have no config file".to_owned(),
        ))
    }

    fn usage_default(&self) -> Option<String> {
        None
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_gos_words_for_why_not() {
        let mut count = Count::default();
        assert_eq!(count.set_from_flag("-3"), Ok(()));
        assert_eq!(count, Count(Some(-3)));
        for (word, text) in [
            ("x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
            ("", r#"strconv.ParseInt: parsing "": invalid syntax"#),
            (
                "2147483648",
                r#"strconv.ParseInt: parsing "2147483648": value out of range"#,
            ),
        ] {
            let refused = FlagError::Refused(text.to_owned());
            assert_eq!(count.set_from_flag(word), Err(refused));
        }
    }
}
