//! From a daemon's command line to its options, and the two questions about them that every daemon answers.
//!
//! A program whose table has the flags `version`, `config`, `print-config` and `check-config` calls [`resolve`], checks
//! what it got, and then asks [`only_checked`] whether that was all it was started for.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::options::{ConfigValue, Given, Options, Source};
use crate::stop::Stop;
use crate::{config, go_flags, version};

/// Reads `args`, without the program's own name, and the config file they name into `options`.
///
/// # Errors
/// [`Stop::Answer`] for `--version` and `--print-config`; what [`go_flags::parse`] and [`config::merge`] refuse.
pub fn resolve<T: Options>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    options: &mut T,
) -> Result<Given, Stop> {
    let mut given = go_flags::parse(program, args, options)?;
    if is_on(options, "version") {
        return Err(Stop::Answer(version::answer(program)));
    }
    config::merge(&config_path(options), options, &mut given)?;
    if is_on(options, "print-config") {
        return Err(Stop::Answer(in_force(options, &given)));
    }
    Ok(given)
}

/// What `--check-config` answers for a program whose `options` have passed every check; `None` without that flag. A key
/// that no option has is an error here, since it is most often misspelt. A start ignores it, as upstream does.
pub fn only_checked<T: Options>(program: &str, options: &T) -> Option<Stop> {
    if !is_on(options, "check-config") {
        return None;
    }
    let unknown = unknown_keys(program, options);
    Some(if unknown.is_empty() {
        Stop::Answer(format!("{program}: the configuration is fine"))
    } else {
        Stop::Fatal(unknown.join("; "))
    })
}

/// What is wrong with each key in the config file that no option has.
pub fn unknown_keys<T: Options>(program: &str, options: &T) -> Vec<String> {
    let path = config_path(options);
    let keys = config::unknown_keys(&path, options).into_iter();
    keys.map(|key| format!("{path}: {program} has no option {key}"))
        .collect()
}

/// The path of the config file; empty for none.
pub fn config_path<T: Options>(options: &T) -> String {
    let row = options.rows().into_iter().find(|row| row.flag == "config");
    match row.map(|row| row.value.config_value()) {
        Some(ConfigValue::Text(path)) => path,
        _ => String::new(),
    }
}

fn is_on<T: Options>(options: &T, flag: &str) -> bool {
    let on = ConfigValue::Json("true".to_owned());
    options
        .rows()
        .iter()
        .any(|row| row.flag == flag && row.value.config_value() == on)
}

/// All options that have a key, as a config file would give them, each with where it comes from.
fn in_force<T: Options>(options: &T, given: &Given) -> String {
    let path = config_path(options);
    let mut lines = Vec::new();
    for row in options.rows() {
        let Some(key) = &row.key else { continue };
        let from = match given.source(row.flag) {
            Source::Default => "default".to_owned(),
            Source::Flag => format!("--{}", row.flag),
            Source::File => path.clone(),
        };
        lines.push((format!("{key} = {}", row.value.file_value()), from));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count());
    let width = width.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    let mut text = String::new();
    for (line, from) in lines {
        let _ = writeln!(text, "{line:width$}  # {from}");
    }
    text
}

/// Settings longer than this do not move the comments of all others.
const WIDEST: usize = 60;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::log_level::LiveLevel;
    use crate::options::{FloatList, LiveList, StringList};

    crate::options! {
        /// A daemon's.
        #[derive(Debug)]
        struct Daemon {
            /// print the version
            "version" (no key) => version: bool = false,
            /// path
            "config" (no key) => config: String = String::new(),
            /// print
            "print-config" (no key) => print_config: bool = false,
            /// check
            "check-config" (no key) => check_config: bool = false,
            /// level
            "log-level" => log_level: LiveLevel = LiveLevel::default(),
            /// text
            "log-prefix" => log_prefix: String = "[\"x\"] ".to_owned(),
            /// switch
            "deflate" => deflate: bool = true,
            /// number
            "node-id" ("id") => node_id: i64 = 7,
            /// part
            "sample" => part: f64 = 1.5,
            /// time
            "msg-timeout" => msg_timeout: Duration = Duration::from_millis(90_500),
            /// addresses
            "lookupd" => lookupd: LiveList = LiveList::default(),
            /// names
            "topic" => topics: StringList = StringList::default(),
            /// percentiles
            "percentile" => percentiles: FloatList = FloatList::default(),
        }
    }

    fn resolved(args: &[&str]) -> Result<(Daemon, Given), Stop> {
        let mut options = Daemon::default();
        let given = resolve("x", args.iter().map(OsString::from), &mut options)?;
        Ok((options, given))
    }

    fn answer(stop: Option<Stop>) -> String {
        match stop {
            Some(Stop::Answer(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let flag = format!("--config={}", file.path().display());
        (file, flag)
    }

    #[test]
    fn every_option_is_printed_with_its_source() {
        let (on_disk, config) = file("id = 8\nmsg_timeout = \"2m\"\n");
        let args = [
            config.as_str(),
            "--print-config",
            "--msg-timeout=3s",
            "--topic=a",
        ];
        let text = answer(resolved(&args).err());
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        let path = on_disk.path().display().to_string();
        for (start, source) in [
            ("id = 8 ", path.as_str()),
            ("msg_timeout = \"3s\" ", "--msg-timeout"),
            ("topic = [\"a\"] ", "--topic"),
            ("deflate = true ", "default"),
        ] {
            assert!(line(start).ends_with(&format!(" # {source}")), "{text}");
        }
        assert!(!text.contains("print"), "{text}");
    }

    #[test]
    fn what_is_printed_is_a_config_file_that_says_the_same() {
        let args = [
            "--print-config",
            "--log-level=warn",
            "--log-prefix=a\"b\\ ",
            "--deflate=false",
            "--sample=0.25",
            "--lookupd=a:1",
            "--lookupd=b:2",
            "--percentile=0.5",
        ];
        let text = answer(resolved(&args).err());
        let (_on_disk, config) = file(&text);
        let again = answer(resolved(&[&config, "--print-config"]).err());
        let settings = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.rsplit_once("  # ").unwrap().0);
            lines.map(|line| line.trim_end().to_owned()).collect()
        };
        assert_eq!(settings(&again), settings(&text));
        assert!(text.contains("log_level = \"warn\""), "{text}");
    }

    #[test]
    fn a_check_fails_for_keys_that_no_option_has() {
        let (_on_disk, config) = file("id = 8\nnode_id = 9\n[sub]\nx = 1\n");
        let (options, _) = resolved(&[&config, "--check-config"]).unwrap();
        let Some(Stop::Fatal(text)) = only_checked("x", &options) else {
            panic!("it passed");
        };
        assert!(text.contains(": x has no option node_id; "), "{text}");
        assert!(text.ends_with(": x has no option sub"), "{text}");

        let (_on_disk, config) = file("id = 8\n");
        let (options, _) = resolved(&[&config, "--check-config"]).unwrap();
        let text = answer(only_checked("x", &options));
        assert_eq!(text, "x: the configuration is fine");
        let (options, _) = resolved(&[]).unwrap();
        assert_eq!(only_checked("x", &options), None);
    }
}
