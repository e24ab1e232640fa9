//! The config file: TOML, below the command line and above the defaults.
//!
//! Each key sets the option whose row names it, unless the command line gave that one already;
//! unknown keys are ignored, so that one file can serve several versions.

use std::io;

use crate::options::{FileError, Given, Options, Source};
use crate::os_error;
use crate::stop::Stop;

/// Why a config file is not taken. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to load config file {path} - open {path}: {}", os_error::plain_text(.source))]
    Read {
        /// Its path.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("failed to load config file {path} - {why}")]
    Syntax {
        /// Its path.
        path: String,
        /// Line and reason.
        why: String,
    },
    /// A value that is none of the words its option knows.
    #[error("failed parsing {key} {value}")]
    UnknownWord {
        /// The option's key.
        key: String,
        /// What the file says.
        value: String,
    },
    /// A value of the wrong type or form.
    #[error("ERROR: Resolve failed to coerce value {value} ({default}) for field {key} - {why}")]
    Coerce {
        /// The option's key.
        key: String,
        /// What the file says.
        value: String,
        /// What the option would be without it.
        default: String,
        /// What is wrong.
        why: String,
    },
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Self {
        match error {
            // Compat: this one goes to the standard logger, without prefix or level (go-options).
            ConfigError::Coerce { .. } => Self::Plain(error.to_string()),
            _ => Self::Fatal(error.to_string()),
        }
    }
}

/// Reads the file at `path`, if that is not empty, into the `options` that `given` does not name,
/// and adds those it set to `given`.
///
/// # Errors
/// [`ConfigError`] for an unreadable or malformed file and for a value its option cannot take.
pub fn merge<T: Options>(
    path: &str,
    options: &mut T,
    given: &mut Given,
) -> Result<(), ConfigError> {
    if path.is_empty() {
        return Ok(());
    }
    merge_table(&read(path)?, options, given)
}

/// The keys in the file at `path` that no option has, in its order; none without a file or where it cannot be read.
pub fn unknown_keys<T: Options>(path: &str, options: &T) -> Vec<String> {
    let table = read(path).unwrap_or_default();
    let rows = options.rows();
    let is_known = |key: &str| rows.iter().any(|row| row.key.as_deref() == Some(key));
    table
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| !is_known(key))
        .collect()
}

fn read(path: &str) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    text.parse().map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        why: syntax_reason(&text, &error),
    })
}

/// Takes what a file with this text would give.
#[cfg(test)]
pub(crate) fn merge_text<T: Options>(text: &str, options: &mut T) {
    let table = text.parse().expect("the test's own text");
    merge_table(&table, options, &mut Given::default()).expect("the test's own values");
}

fn merge_table<T: Options>(
    table: &toml::Table,
    options: &mut T,
    given: &mut Given,
) -> Result<(), ConfigError> {
    let keyed: Vec<_> = options
        .rows()
        .into_iter()
        .filter(|row| !given.has(row.flag))
        .filter_map(|row| {
            let default = row.value.usage_default().unwrap_or_default();
            Some((row.flag, row.key?, default))
        })
        .collect();
    for (flag, key, default) in keyed {
        let Some(value) = table.get(key.as_ref()) else {
            continue;
        };
        let option = options
            .value_mut(flag)
            .expect("every row's flag leads to its value");
        option.set_from_file(value).map_err(|error| match error {
            FileError::UnknownWord => ConfigError::UnknownWord {
                key: key.to_string(),
                value: plain(value),
            },
            FileError::Coerce(why) => ConfigError::Coerce {
                key: key.to_string(),
                value: plain(value),
                default,
                why,
            },
        })?;
        given.add(flag, Source::File);
    }
    Ok(())
}

/// A value as messages show it: strings without quotes.
pub fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line of `line N: reason`, where the library's own text is a picture of several lines.
fn syntax_reason(text: &str, error: &toml::de::Error) -> String {
    let why = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {why}")
        }
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::go_flags;
    use crate::options::ConfigValue;
    use crate::options::tests::Sample;

    fn merged(flags: &[&str], file: &str) -> Result<(Sample, Given), ConfigError> {
        let mut sample = Sample::default();
        let args = flags.iter().map(OsString::from);
        let mut given = go_flags::parse("sample", args, &mut sample).unwrap();
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        merge(on_disk.path().to_str().unwrap(), &mut sample, &mut given)?;
        Ok((sample, given))
    }

    fn shown(file: &str, key: &str) -> String {
        let (sample, _) = merged(&[], file).unwrap();
        match sample.config_value(key).unwrap() {
            ConfigValue::Text(text) | ConfigValue::Json(text) => text,
        }
    }

    #[test]
    fn values_convert_as_upstream_converts_them() {
        for (file, key, value) in [
            ("deflate = false", "deflate", "false"),
            ("deflate = \"f\"", "deflate", "false"),
            // Inverted, as upstream has it.
            ("deflate = 0", "deflate", "true"),
            ("deflate = 1", "deflate", "false"),
            ("deflate = -7", "deflate", "false"),
            ("id = 5", "id", "5"),
            ("id = \"5\"", "id", "5"),
            ("id = 0x10", "id", "16"),
            ("msg_timeout = \"1h30m\"", "msg_timeout", "5400000000000"),
            ("msg_timeout = 5000", "msg_timeout", "5000000000"),
            ("log_prefix = \"x\"", "log_prefix", "x"),
            ("log_prefix = 5", "log_prefix", "5"),
            ("topic = [\"a\", \"b,c\"]", "topic", r#"["a","b,c"]"#),
            ("topic = \"a, b\"", "topic", r#"["a"," b"]"#),
            ("topic = \"\"", "topic", r#"[""]"#),
            ("topic = []", "topic", "null"),
            ("percentile = [0.5, 1.0]", "percentile", "[0.5,1]"),
            ("percentile = [1, 0.5]", "percentile", "[1,0.5]"),
            ("percentile = \"0.5, 0.99\"", "percentile", "[0.5,0.99]"),
            ("percentile = []", "percentile", "null"),
            ("sample = 0.25", "sample", "0.25"),
        ] {
            assert_eq!(shown(file, key), value, "{file}");
        }
    }

    #[test]
    fn the_command_line_wins_even_with_the_default() {
        let file = "msg_timeout = \"5s\"\ntopic = [\"file\"]\nid = 3";
        let (sample, given) = merged(&["--msg-timeout=60s", "--topic=line"], file).unwrap();
        assert_eq!(sample.msg_timeout, Duration::from_mins(1));
        assert_eq!(*sample.topics, ["line"]);
        assert_eq!(sample.node_id, 3);
        assert!(given.has("node-id") && !given.has("max-msg-size"));
    }

    #[test]
    fn unknown_keys_and_flag_only_options_are_ignored() {
        let file = "node_id = 3\nversion = true\nNODE = 1\nId = 4\n[id_table]\nid = 5";
        let (sample, given) = merged(&[], file).unwrap();
        assert_eq!(sample.node_id, 7);
        assert!(!sample.version);
        assert_eq!(given, Given::default());
    }

    #[test]
    fn a_value_that_does_not_convert_is_told_with_key_and_reason() {
        for (file, text) in [
            (
                "msg_timeout = \"abc\"",
                "ERROR: Resolve failed to coerce value abc (1m0s) for field msg_timeout - ",
            ),
            (
                "msg_timeout = 1.5",
                "ERROR: Resolve failed to coerce value 1.5 (1m0s) for field msg_timeout - ",
            ),
            (
                "deflate = \"maybe\"",
                "ERROR: Resolve failed to coerce value maybe (true) for field deflate - ",
            ),
            (
                "id = 1.0",
                "ERROR: Resolve failed to coerce value 1.0 (7) for field id - ",
            ),
            (
                "id = \"0x1\"",
                "ERROR: Resolve failed to coerce value 0x1 (7) for field id - ",
            ),
            (
                "topic = [1]",
                "ERROR: Resolve failed to coerce value [1] () for field topic - ",
            ),
            (
                "max_msg_size = -1",
                "ERROR: Resolve failed to coerce value -1 (1024) for field max_msg_size - must not be negative",
            ),
        ] {
            let error = merged(&[], file).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(matches!(Stop::from(error), Stop::Plain(_)));
        }
    }

    #[test]
    fn a_missing_or_malformed_file_is_fatal_and_told_in_one_line() {
        let mut sample = Sample::default();
        let error = merge("/nowhere/x.cfg", &mut sample, &mut Given::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to load config file /nowhere/x.cfg - open /nowhere/x.cfg: no such file or directory"
        );
        let error = merged(&[], "id = 1\nthis is not toml").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("failed to load config file "), "{text}");
        assert!(text.contains(" - line 2: "), "{text}");
        assert!(!text.contains('\n'), "{text}");
        assert!(matches!(Stop::from(error), Stop::Fatal(_)));
    }

    #[test]
    fn no_path_means_no_file() {
        merge("", &mut Sample::default(), &mut Given::default()).unwrap();
    }
}
