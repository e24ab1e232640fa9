//! Options that are sizes: a number of bytes, or a number with a unit such as `64MiB`.

use nsq_daemon::options::{
    ConfigValue, FileError, FileValue, FlagError, FlagShape, OptionValue, parse_integer,
};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The units, largest first.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

const RULE: &str = "must be a number of bytes, or a whole number with KiB, MiB, GiB or TiB";

impl ByteSize {
    fn parse(word: &str) -> Result<ByteSize, &'static str> {
        let unit = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((word.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((word, 0));
        let number = parse_integer(number).map_err(|_| RULE)?;
        let number = u64::try_from(number).map_err(|_| "must not be negative")?;
        let bytes = number.checked_mul(1 << shift).ok_or("is too large")?;
        Ok(ByteSize(bytes))
    }

    /// The size with the largest unit in which it is a whole number.
    fn text(self) -> String {
        let unit = UNITS
            .iter()
            .find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((unit, shift)) => format!("{}{unit}", self.0 >> shift),
            None => self.0.to_string(),
        }
    }
}

impl OptionValue for ByteSize {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("size")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        *self = ByteSize::parse(word).map_err(|rule| FlagError::Refused(rule.to_owned()))?;
        Ok(())
    }

    fn set_from_file(&mut self, value: &FileValue) -> Result<(), FileError> {
        let word = match value {
            FileValue::Integer(number) => number.to_string(),
            FileValue::String(text) => text.clone(),
            other => {
                let text = format!("a {} is not a size", other.type_str());
                return Err(FileError::Coerce(text));
            }
        };
        *self =
            ByteSize::parse(&word).map_err(|rule| FileError::Coerce(format!("{word:?} {rule}")))?;
        Ok(())
    }

    fn file_value(&self) -> FileValue {
        self.text().into()
    }

    fn usage_default(&self) -> Option<String> {
        (self.0 != 0).then(|| self.text())
    }

    /// Sizes are shown in bytes, as all other numbers are.
    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_or_without_a_unit() {
        for (word, bytes, text) in [
            ("0", 0, "0"),
            ("1000", 1000, "1000"),
            ("1024", 1024, "1KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1536MiB", 1536 << 20, "1536MiB"),
            ("0x10KiB", 16 << 10, "16KiB"),
            ("2TiB", 2 << 40, "2TiB"),
        ] {
            let size = ByteSize::parse(word).unwrap();
            assert_eq!(size, ByteSize(bytes), "{word}");
            assert_eq!(size.text(), text, "{word}");
            assert_eq!(ByteSize::parse(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        for word in ["", "GiB", "1 GiB", "1.5GiB", "1GB", "1gib", "x"] {
            assert_eq!(ByteSize::parse(word), Err(RULE), "{word:?}");
        }
        assert_eq!(ByteSize::parse("-1"), Err("must not be negative"));
        assert_eq!(ByteSize::parse("16777216TiB"), Err("is too large"));
    }
}
