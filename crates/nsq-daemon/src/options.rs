//! Options: one row per option, from which everything about it follows.
//!
//! A program lists its options once, with [`options!`](crate::options!): flag, config key, type, default,
//! help. The command line ([`crate::go_flags`]), the usage text, the config file
//! ([`crate::config`]), the typed field and the value that `/config/<key>` shows all come from that
//! row, so that they cannot disagree.
//!
//! The table is our own and not clap's because nothing clap would do is left to it: Go's flag
//! grammar, its usage text and its error texts are part of what scripts and operators rely on, and
//! each differs from clap's. Invariant: flags and keys are unique within a table (the compiler
//! refuses a flag given twice).

mod lists;
mod live_number;
mod numbers;
mod words;

pub use self::lists::{FloatList, LiveList, StringList};
pub use self::live_number::LiveNumber;
pub use self::numbers::parse_integer;
pub use self::words::parse_bool;
/// A value of a config file.
pub use toml::Value as FileValue;

use std::borrow::Cow;
use std::ffi::OsString;

/// A type an option can have: how it reads and how it shows.
pub trait OptionValue {
    /// How the option stands on a command line.
    fn shape(&self) -> FlagShape;

    /// Takes the value of one occurrence of the flag; a list appends it.
    ///
    /// # Errors
    /// [`FlagError`] when the type has no such value.
    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError>;

    /// Takes the value a config file gives; a list is replaced by it.
    ///
    /// # Errors
    /// [`FileError`] when the value converts to none of the type's.
    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError>;

    /// The default as the usage text shows it; `None` for Go's zero value, which it leaves out.
    fn usage_default(&self) -> Option<String>;

    /// What `/config/<key>` answers.
    fn config_value(&self) -> ConfigValue;

    /// The value as a config file would give it.
    fn file_value(&self) -> toml::Value {
        match self.config_value() {
            ConfigValue::Text(text) => text.into(),
            // A list that was never given is null.
            ConfigValue::Json(json) => {
                serde_json::from_str(&json).unwrap_or_else(|_| Vec::<toml::Value>::new().into())
            }
        }
    }

    /// Takes what a config file says now, while the program runs.
    ///
    /// # Errors
    /// [`PutError::InvalidOption`] for the many types that only change with a restart.
    fn adopt(&self, _value: &toml::Value) -> Result<(), PutError> {
        Err(PutError::InvalidOption)
    }

    /// Takes a new value while the program runs.
    ///
    /// # Errors
    /// [`PutError::InvalidOption`] for the many types that only change with a restart.
    fn put(&self, _body: &[u8]) -> Result<(), PutError> {
        Err(PutError::InvalidOption)
    }
}

/// How an option stands on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagShape {
    /// `-name` alone means true; a value needs `=`.
    Switch,
    /// A value must follow, after `=` or as the next argument. The word is the usage text's name
    /// for it.
    Valued(&'static str),
}

/// Why a flag's value is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagError {
    /// A usage error; the text says what is wrong with the value.
    Refused(String),
    /// The program ends with this line alone, without usage.
    Abort(String),
}

/// Why a config file's value is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// Not one of the words this option knows.
    UnknownWord,
    /// Of the wrong type or form; the text says which.
    Coerce(String),
}

/// The body of an answer to `/config/<key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// Raw text, as strings are shown.
    Text(String),
    /// JSON, as everything else is.
    Json(String),
}

/// Why an option cannot be changed while running. `Display` is the answer's error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// There is no such option, or only a restart changes it.
    #[error("INVALID_OPTION")]
    InvalidOption,
    /// The body is no value of this option.
    #[error("INVALID_VALUE")]
    InvalidValue,
}

/// One option of a table.
pub struct Row<'a> {
    /// Name on the command line, without dashes.
    pub flag: &'static str,
    /// Name in the config file and of `/config/<key>`; `None` for a flag that is only a flag.
    pub key: Option<Cow<'static, str>>,
    /// What the option does, in a few words.
    pub help: String,
    /// The value it has now.
    pub value: &'a dyn OptionValue,
}

/// A program's options. [`options!`](crate::options!) writes this for a struct.
pub trait Options: Default {
    /// Every option, in the order of the table.
    fn rows(&self) -> Vec<Row<'_>>;

    /// The value after a flag.
    fn value_mut(&mut self, flag: &str) -> Option<&mut dyn OptionValue>;

    /// What `/config/<key>` answers to a GET; `None` for an unknown key.
    fn config_value(&self, key: &str) -> Option<ConfigValue> {
        let rows = self.rows();
        let row = rows.iter().find(|row| row.key.as_deref() == Some(key))?;
        Some(row.value.config_value())
    }

    /// Carries out a PUT to `/config/<key>` and returns the new value in GET's form.
    ///
    /// # Errors
    /// [`PutError`] for an unknown or fixed option and for a body that is no value of it.
    fn put_config_value(&self, key: &str, body: &[u8]) -> Result<ConfigValue, PutError> {
        let rows = self.rows();
        let row = rows
            .iter()
            .find(|row| row.key.as_deref() == Some(key))
            .ok_or(PutError::InvalidOption)?;
        row.value.put(body)?;
        Ok(row.value.config_value())
    }
}

/// The options that were given, on the command line or in the config file, as opposed to left
/// at their defaults.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Given {
    flags: Vec<(&'static str, Source)>,
    words: Vec<String>,
}

impl Given {
    /// Whether the option of this flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.source(flag) != Source::Default
    }

    /// Where the option's value comes from.
    pub fn source(&self, flag: &str) -> Source {
        let given = self.flags.iter().find(|(given, _)| *given == flag);
        given.map_or(Source::Default, |(_, source)| *source)
    }

    /// What stood on the command line after the flags.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    pub(crate) fn set_words(&mut self, words: impl Iterator<Item = OsString>) {
        self.words = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
    }

    pub(crate) fn add(&mut self, flag: &'static str, source: Source) {
        if !self.has(flag) {
            self.flags.push((flag, source));
        }
    }
}

/// Where an option's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// No one gave one.
    Default,
    /// The command line.
    Flag,
    /// The config file.
    File,
}

/// Declares a struct of options, its defaults and its [`Options`] table.
///
/// A row reads `"flag" (key) => field: Type = default`, under a doc comment that is the help text
/// as well. `(key)` is left out where the key is the flag with `_` for `-`; `("other")` names
/// another; `(no key)` makes the option a flag only.
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $flag:literal $(($($key:tt)+))? => $field:ident: $ty:ty = $default:expr
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $help])+ pub $field: $ty, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::options::Options for $name {
            fn rows(&self) -> Vec<$crate::options::Row<'_>> {
                vec![ $( $crate::options::Row {
                    flag: $flag,
                    key: $crate::options!(@key $flag $($($key)+)?),
                    help: [$($help),+].map(str::trim).join(" "),
                    value: &self.$field,
                } ),+ ]
            }

            fn value_mut(
                &mut self,
                flag: &str,
            ) -> Option<&mut dyn $crate::options::OptionValue> {
                match flag {
                    $( $flag => Some(&mut self.$field), )+
                    _ => None,
                }
            }
        }
    };
    (@key $flag:literal) => { Some($flag.replace('-', "_").into()) };
    (@key $flag:literal no key) => { None };
    (@key $flag:literal $key:literal) => { Some($key.into()) };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    options! {
        /// One option of each kind.
        #[derive(Debug)]
        pub(crate) struct Sample {
            /// print the version
            "version" (no key) => version: bool = false,
            /// path of a config file
            "config" (no key) => config: String = String::new(),
            /// a switch that is on
            "deflate" => deflate: bool = true,
            /// what lines begin with
            "log-prefix" => log_prefix: String = "[x] ".to_owned(),
            /// a number whose key is shorter
            /// than its flag
            "node-id" ("id") => node_id: i64 = 7,
            /// a port
            "port" => port: u16 = 0,
            /// a size
            "max-msg-size" => max_msg_size: u64 = 1024,
            /// a part
            "sample" => part: f64 = 1.0,
            /// a length of time
            "msg-timeout" => msg_timeout: Duration = Duration::from_mins(1),
            /// an address, repeatable
            "lookupd-tcp-address" ("nsqlookupd_tcp_addresses") => lookupd: LiveList = LiveList::default(),
            /// a name, repeatable
            "topic" => topics: StringList = StringList::default(),
            /// a percentile
            "percentile" => percentiles: FloatList = FloatList::default(),
        }
    }

    #[test]
    fn a_key_is_the_flag_with_underscores_unless_the_row_names_another() {
        let sample = Sample::default();
        let keys: Vec<_> = sample.rows().iter().map(|row| row.key.clone()).collect();
        assert_eq!(keys[0], None);
        assert_eq!(keys[2].as_deref(), Some("deflate"));
        assert_eq!(keys[3].as_deref(), Some("log_prefix"));
        assert_eq!(keys[4].as_deref(), Some("id"));
    }

    #[test]
    fn help_lines_are_joined() {
        let sample = Sample::default();
        assert_eq!(
            sample.rows()[4].help,
            "a number whose key is shorter than its flag"
        );
    }

    #[test]
    fn every_kind_shows_its_value_as_the_http_interface_does() {
        let text = |value: &str| Some(ConfigValue::Text(value.to_owned()));
        let json = |value: &str| Some(ConfigValue::Json(value.to_owned()));
        let sample = Sample::default();
        assert_eq!(sample.config_value("deflate"), json("true"));
        assert_eq!(sample.config_value("log_prefix"), text("[x] "));
        assert_eq!(sample.config_value("id"), json("7"));
        assert_eq!(sample.config_value("msg_timeout"), json("60000000000"));
        assert_eq!(sample.config_value("topic"), json("[]"));
        assert_eq!(sample.config_value("percentile"), json("[]"));
        for unknown in ["node_id", "node-id", "version", "config", ""] {
            assert_eq!(sample.config_value(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn only_a_live_option_can_be_put() {
        let sample = Sample::default();
        assert_eq!(
            sample.put_config_value("nsqlookupd_tcp_addresses", br#"["a:1","b:2"]"#),
            Ok(ConfigValue::Json(r#"["a:1","b:2"]"#.to_owned()))
        );
        assert_eq!(**sample.lookupd.current(), ["a:1", "b:2"]);
        assert_eq!(
            sample.put_config_value("nsqlookupd_tcp_addresses", b"null"),
            Ok(ConfigValue::Json("null".to_owned()))
        );
        assert_eq!(
            sample.put_config_value("nsqlookupd_tcp_addresses", b"a:1"),
            Err(PutError::InvalidValue)
        );
        for fixed in ["deflate", "id", "node_id", "lookupd_tcp_address"] {
            assert_eq!(
                sample.put_config_value(fixed, b"true"),
                Err(PutError::InvalidOption)
            );
        }
    }
}
