//! The two TLS options whose values are words.

use nsq_daemon::config;
use nsq_daemon::go_quote;
use nsq_daemon::options::{
    ConfigValue, FileError, FileValue, FlagError, FlagShape, OptionValue, parse_bool,
};

/// Who is refused without TLS. The numbers are what `/config/tls_required` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsRequired {
    /// No one.
    No = 0,
    /// TCP clients; plain HTTP stays open.
    ExceptHttp = 1,
    /// Everyone.
    Yes = 2,
}

impl OptionValue for TlsRequired {
    fn shape(&self) -> FlagShape {
        FlagShape::Switch
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        let word = word.to_lowercase();
        *self = match (word.as_str(), parse_bool(&word)) {
            ("tcp-https", _) => Self::ExceptHttp,
            (_, Some(true)) => Self::Yes,
            (_, Some(false)) => Self::No,
            (_, None) => {
                let word = go_quote(&word);
                let text = format!("strconv.ParseBool: parsing {word}: invalid syntax");
                return Err(FlagError::Refused(text));
            }
        };
        Ok(())
    }

    /// Compat: an integer is read as the flag's word, so 1 means true here and is not inverted as
    /// for other switches (apps/nsqd/main.go, Validate).
    fn set_from_file(&mut self, value: &FileValue) -> Result<(), FileError> {
        self.set_from_flag(&config::plain(value))
            .map_err(|_| FileError::UnknownWord)
    }

    fn file_value(&self) -> FileValue {
        match self {
            Self::No => false.into(),
            Self::ExceptHttp => "tcp-https".into(),
            Self::Yes => true.into(),
        }
    }

    fn usage_default(&self) -> Option<String> {
        (*self != Self::No).then(|| (*self as u8).to_string())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json((*self as u8).to_string())
    }
}

/// The oldest TLS version spoken. The numbers are TLS's own, and what
/// `/config/tls_min_version` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum TlsMinVersion {
    /// TLS 1.0.
    Tls10 = 0x0301,
    /// TLS 1.1.
    Tls11 = 0x0302,
    /// TLS 1.2.
    Tls12 = 0x0303,
    /// TLS 1.3.
    Tls13 = 0x0304,
}

impl TlsMinVersion {
    const WORDS: [(&str, Self); 4] = [
        ("tls1.0", Self::Tls10),
        ("tls1.1", Self::Tls11),
        ("tls1.2", Self::Tls12),
        ("tls1.3", Self::Tls13),
    ];
}

impl OptionValue for TlsMinVersion {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    /// An empty word keeps what there is.
    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        let word = word.to_lowercase();
        if word.is_empty() {
            return Ok(());
        }
        let known = Self::WORDS.iter().find(|(name, _)| *name == word);
        let (_, version) = known.ok_or_else(|| {
            FlagError::Refused(format!("unknown tlsVersionOption {}", go_quote(&word)))
        })?;
        *self = *version;
        Ok(())
    }

    fn set_from_file(&mut self, value: &FileValue) -> Result<(), FileError> {
        self.set_from_flag(&config::plain(value))
            .map_err(|_| FileError::UnknownWord)
    }

    fn file_value(&self) -> FileValue {
        self.usage_default().unwrap_or_default().into()
    }

    fn usage_default(&self) -> Option<String> {
        let known = Self::WORDS.iter().find(|(_, version)| version == self);
        known.map(|(name, _)| (*name).to_owned())
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json((*self as u16).to_string())
    }
}
