//! The command line, in the grammar of Go's `flag` package.
//!
//! `-name` and `--name` are the same; a value follows `=` or is the next argument, but a switch
//! takes one only with `=`. Reading stops, silently, at the first argument that is no flag and
//! after `--`. The last of several values counts; a list appends.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::options::{FlagError, FlagShape, Given, OptionValue, Options, Source};
use crate::stop::Stop;
use crate::{go_quote, reference};

/// Reads `args` (without the program's own name) into `options` and returns which were given.
///
/// # Errors
/// [`Stop::Help`] for `-h`, [`Stop::Answer`] for `--help=<form>` with one of [`reference::FORMS`] (any other word is
/// passed over, as Go does); [`Stop::Usage`] for a flag that does not exist, lacks its value or
/// does not take it; [`Stop::Plain`] for the few values that end a program with a line of theirs.
pub fn parse<T: Options>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    options: &mut T,
) -> Result<Given, Stop> {
    let mut given = Given::default();
    let mut args = args.into_iter();
    loop {
        match parse_one(&mut args, options) {
            Ok(Step::Flag(flag)) => given.add(flag, Source::Flag),
            Ok(Step::End) => {
                given.set_words(args);
                return Ok(given);
            }
            Ok(Step::Word(word)) => {
                given.set_words(std::iter::once(word.into()).chain(args));
                return Ok(given);
            }
            Err(Misuse::Abort(text)) => return Err(Stop::Plain(text)),
            Err(Misuse::Help(form)) => {
                let reference = form.and_then(|form| reference::render::<T>(program, &form));
                return Err(reference.map_or_else(|| Stop::Help(usage::<T>(program)), Stop::Answer));
            }
            Err(Misuse::Text(text)) => {
                let usage = usage::<T>(program);
                return Err(Stop::Usage { text, usage });
            }
        }
    }
}

/// Why reading ends early.
enum Misuse {
    /// With the word after `=`, if there is one.
    Help(Option<String>),
    Text(String),
    Abort(String),
}

/// What was next on the command line.
enum Step {
    Flag(&'static str),
    /// No flag: reading ends before it.
    Word(String),
    /// There is no more, or only words.
    End,
}

/// Takes one flag, and its value where that is the next argument.
fn parse_one<T: Options>(
    args: &mut impl Iterator<Item = OsString>,
    options: &mut T,
) -> Result<Step, Misuse> {
    let Some(arg) = next_text(args)? else {
        return Ok(Step::End);
    };
    if arg == "--" {
        return Ok(Step::End);
    }
    if arg.len() < 2 || !arg.starts_with('-') {
        return Ok(Step::Word(arg));
    }
    let body = arg.strip_prefix("--").unwrap_or(&arg[1..]);
    if body.starts_with(['-', '=']) {
        return Err(Misuse::Text(format!("bad flag syntax: {arg}")));
    }
    let (name, word) = match body.split_once('=') {
        Some((name, word)) => (name, Some(word.to_owned())),
        None => (body, None),
    };
    let Some(value) = options.value_mut(name) else {
        return Err(match name {
            "h" | "help" => Misuse::Help(word),
            _ => Misuse::Text(format!("flag provided but not defined: -{name}")),
        });
    };
    match value.shape() {
        FlagShape::Switch => {
            let word = word.unwrap_or_else(|| "true".to_owned());
            let shown = format!("invalid boolean value {} for -{name}", go_quote(&word));
            set(value, &word, &shown)?;
        }
        FlagShape::Valued(_) => {
            let word = match word {
                Some(word) => Some(word),
                None => next_text(args)?,
            }
            .ok_or_else(|| Misuse::Text(format!("flag needs an argument: -{name}")))?;
            let shown = format!("invalid value {} for flag -{name}", go_quote(&word));
            set(value, &word, &shown)?;
        }
    }
    let rows = options.rows();
    let row = rows.iter().find(|row| row.flag == name);
    Ok(row.map_or(Step::End, |row| Step::Flag(row.flag)))
}

fn set(value: &mut dyn OptionValue, word: &str, shown: &str) -> Result<(), Misuse> {
    value.set_from_flag(word).map_err(|error| match error {
        FlagError::Refused(why) => Misuse::Text(format!("{shown}: {why}")),
        FlagError::Abort(text) => Misuse::Abort(text),
    })
}

fn next_text(args: &mut impl Iterator<Item = OsString>) -> Result<Option<String>, Misuse> {
    args.next()
        .map(OsString::into_string)
        .transpose()
        .map_err(|arg| {
            let shown = arg.to_string_lossy();
            Misuse::Text(format!("argument is not valid UTF-8: {shown}"))
        })
}

/// The usage text: every flag by name, with its help and its default.
pub fn usage<T: Options>(program: &str) -> String {
    let defaults = T::default();
    let mut rows = defaults.rows();
    rows.sort_by_key(|row| row.flag);
    let mut text = format!("Usage of {program}:\n");
    for row in rows {
        let _ = write!(text, "  -{}", row.flag);
        if let FlagShape::Valued(word) = row.value.shape() {
            let _ = write!(text, " {word}");
        }
        let _ = write!(text, "\n    \t{}", row.help);
        if let Some(default) = row.value.usage_default() {
            let _ = write!(text, " (default {default})");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::tests::Sample;

    fn parsed(line: &[&str]) -> Result<(Sample, Given), Stop> {
        let mut sample = Sample::default();
        let given = parse("sample", line.iter().map(OsString::from), &mut sample)?;
        Ok((sample, given))
    }

    fn usage_error(line: &[&str]) -> String {
        match parsed(line) {
            Err(Stop::Usage { text, usage }) => {
                assert!(usage.starts_with("Usage of sample:\n"), "{usage}");
                text
            }
            other => panic!("{line:?} gave {other:?}"),
        }
    }

    #[test]
    fn one_dash_or_two_and_either_form_of_value() {
        for line in [
            &["-msg-timeout", "5s"][..],
            &["--msg-timeout", "5s"],
            &["-msg-timeout=5s"],
            &["--msg-timeout=5s"],
        ] {
            let (sample, given) = parsed(line).unwrap();
            assert_eq!(sample.msg_timeout, Duration::from_secs(5), "{line:?}");
            assert!(given.has("msg-timeout") && !given.has("deflate"));
        }
    }

    #[test]
    fn a_switch_takes_a_value_only_with_an_equals_sign() {
        let (sample, _) = parsed(&["--version", "--deflate=false"]).unwrap();
        assert!(sample.version && !sample.deflate);
        for word in ["1", "t", "TRUE"] {
            let (sample, _) = parsed(&["--deflate=0", &format!("--version={word}")]).unwrap();
            assert!(sample.version && !sample.deflate);
        }
    }

    #[test]
    fn reading_stops_silently_at_the_first_word_and_at_two_dashes() {
        for line in [
            &["--deflate", "false", "--max-msg-size=5"][..],
            &["--", "--max-msg-size=5"],
            &["word", "--max-msg-size=5"],
            &["-", "--max-msg-size=5"],
            &["", "--nonsense"],
        ] {
            let (sample, given) = parsed(line).unwrap();
            assert!(sample.deflate);
            assert_eq!(sample.max_msg_size, 1024, "{line:?}");
            assert!(!given.has("max-msg-size"));
        }
    }

    #[test]
    fn words_after_the_flags_are_kept_for_who_minds_them() {
        let words = |line: &[&str]| parsed(line).unwrap().1.words().to_vec();
        assert_eq!(words(&["--deflate", "a", "--b"]), ["a", "--b"]);
        assert_eq!(words(&["--", "--deflate"]), ["--deflate"]);
        assert!(words(&["--deflate"]).is_empty());
    }

    #[test]
    fn the_next_argument_is_the_value_whatever_it_looks_like() {
        let (sample, _) = parsed(&["--log-prefix", "--version", "--config", ""]).unwrap();
        assert_eq!(sample.log_prefix, "--version");
        assert!(!sample.version);
        let (sample, _) = parsed(&["--log-prefix=a=b"]).unwrap();
        assert_eq!(sample.log_prefix, "a=b");
    }

    #[test]
    fn the_last_value_counts_and_lists_append() {
        let (sample, _) = parsed(&["--node-id=1", "--node-id=0x1f"]).unwrap();
        assert_eq!(sample.node_id, 31);
        let (sample, _) = parsed(&["--topic=a,b", "--topic=c"]).unwrap();
        assert_eq!(*sample.topics, ["a,b", "c"]);
        let (sample, _) = parsed(&["--percentile=0.5,1.0", "--percentile", "0.99"]).unwrap();
        assert_eq!(*sample.percentiles, [1.0, 0.99, 0.5]);
    }

    #[test]
    fn misuse_is_told_in_gos_words() {
        for (line, text) in [
            (&["--foo"][..], "flag provided but not defined: -foo"),
            (&["-foo=bar"], "flag provided but not defined: -foo"),
            (&["---version"], "bad flag syntax: ---version"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["--msg-timeout"], "flag needs an argument: -msg-timeout"),
            (
                &["--msg-timeout=5"],
                "invalid value \"5\" for flag -msg-timeout: parse error",
            ),
            (
                &["--node-id", "x\n"],
                "invalid value \"x\\n\" for flag -node-id: parse error",
            ),
            (
                &["--node-id=99999999999999999999"],
                "invalid value \"99999999999999999999\" for flag -node-id: value out of range",
            ),
            (
                &["--max-msg-size=-1"],
                "invalid value \"-1\" for flag -max-msg-size: must not be negative",
            ),
            (
                &["--msg-timeout=-1s"],
                "invalid value \"-1s\" for flag -msg-timeout: must not be negative",
            ),
            (
                &["--deflate=yes"],
                "invalid boolean value \"yes\" for -deflate: parse error",
            ),
        ] {
            assert_eq!(usage_error(line), text);
        }
    }

    #[test]
    fn a_percentile_that_is_no_number_ends_the_program_with_a_line_of_its_own() {
        let stop = parsed(&["--percentile=0.5,x"]).unwrap_err();
        assert_eq!(stop, Stop::Plain("Could not parse: x".to_owned()));
    }

    #[test]
    fn help_is_the_usage_text_sorted_by_flag_with_true_defaults() {
        for line in [&["-h"][..], &["--help"], &["--node-id=9", "-help"]] {
            let stop = parsed(line).unwrap_err();
            assert_eq!(stop, Stop::Help(usage::<Sample>("sample")));
        }
        assert_eq!(
            usage::<Sample>("sample"),
            "Usage of sample:
  -config string
    \tpath of a config file
  -deflate
    \ta switch that is on (default true)
  -log-prefix string
    \twhat lines begin with (default \"[x] \")
  -lookupd-tcp-address value
    \tan address, repeatable
  -max-msg-size int
    \ta size (default 1024)
  -msg-timeout duration
    \ta length of time (default 1m0s)
  -node-id int
    \ta number whose key is shorter than its flag (default 7)
  -percentile value
    \ta percentile
  -port int
    \ta port
  -sample float
    \ta part (default 1)
  -topic value
    \ta name, repeatable
  -version
    \tprint the version
"
        );
    }
}
