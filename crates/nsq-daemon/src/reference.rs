//! A program's options as documents: what `--help=<form>` prints.
//!
//! Everything comes from the rows of the [options](mod@crate::options), so that manual pages, completions and the
//! reference cannot say anything else than the program does. A default that is taken from the machine the program
//! runs on, such as its host name, is left out: the help text says what it is.

mod completions;
mod man;
mod markdown;

use crate::node_id::{default_node_id, hostname};
use crate::options::{FlagShape, Options, Row};
use crate::version::VERSION;

/// The forms there are, as words of `--help=<form>`.
pub const FORMS: [&str; 5] = ["markdown", "man", "bash", "zsh", "fish"];

/// The options of `program` in one of the [`FORMS`]; `None` for any other word.
pub fn render<T: Options>(program: &str, form: &str) -> Option<String> {
    let defaults = T::default();
    let mut entries: Vec<_> = defaults.rows().iter().map(Entry::of).collect();
    entries.sort_by_key(|entry| entry.flag);
    let program = Program {
        name: program,
        about: about(program),
        entries,
    };
    match form {
        "markdown" => Some(markdown::render(&program)),
        "man" => Some(man::render(&program, VERSION)),
        "bash" => Some(completions::bash(&program)),
        "zsh" => Some(completions::zsh(&program)),
        "fish" => Some(completions::fish(&program)),
        _ => None,
    }
}

/// What a document is about.
struct Program<'a> {
    name: &'a str,
    about: &'static str,
    /// By flag.
    entries: Vec<Entry>,
}

impl Program<'_> {
    /// Whether it reads a config file.
    fn has_config_file(&self) -> bool {
        self.entries.iter().any(|entry| entry.flag == "config")
    }
}

/// One option.
struct Entry {
    flag: &'static str,
    /// The word for its value; `None` for a switch.
    value: Option<&'static str>,
    key: Option<String>,
    help: String,
    /// As the usage text shows it; `None` where it is empty or a matter of the machine.
    default: Option<String>,
}

impl Entry {
    fn of(row: &Row<'_>) -> Self {
        let of_the_machine = [
            crate::go_quote(hostname()).to_string(),
            default_node_id(&hostname()).to_string(),
        ];
        Self {
            flag: row.flag,
            value: match row.value.shape() {
                FlagShape::Switch => None,
                FlagShape::Valued(word) => Some(word),
            },
            key: row.key.as_deref().map(str::to_owned),
            help: row.help.clone(),
            default: row
                .value
                .usage_default()
                .filter(|text| !(row.help.contains("host name") && of_the_machine.contains(text))),
        }
    }

    /// Whether the value is the path of a file or folder.
    fn takes_a_path(&self) -> bool {
        const ENDS: [&str; 8] = ["path", "file", "cert", "key", "dir", "config", "to", "log"];
        self.value == Some("string")
            && self
                .flag
                .rsplit('-')
                .next()
                .is_some_and(|last| ENDS.contains(&last))
    }
}

/// One sentence on each program of the suite.
fn about(program: &str) -> &'static str {
    match program {
        "nsqd" => "receives, queues and delivers messages",
        "nsqlookupd" => "tells consumers which nsqd has which topic",
        "nsqadmin" => "shows a cluster of nsqds and lets administrators act on it",
        "nsq_to_file" => "archives topics to files",
        "nsq_to_http" => "sends messages to HTTP endpoints",
        "nsq_to_nsq" => "copies topics to other nsqds",
        "nsq_tail" => "prints messages as they arrive",
        "nsq_stat" => "prints statistics of a channel at intervals",
        "to_nsq" => "publishes its standard input",
        _ => "a program of the NSQ suite",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::Sample;

    #[test]
    fn every_form_names_every_flag() {
        for form in FORMS {
            let text = render::<Sample>("sample", form).unwrap();
            for row in Sample::default().rows() {
                let flag = row.flag.replace('-', "\\-");
                assert!(
                    text.contains(row.flag) || text.contains(&flag),
                    "{form}: {}",
                    row.flag
                );
            }
        }
        assert_eq!(render::<Sample>("sample", "pdf"), None);
    }

    crate::options! {
        /// What differs from machine to machine.
        struct OfTheMachine {
            /// address (the host name unless given)
            "address" => address: String = hostname(),
            /// number (taken from the host name unless given)
            "id" => id: i64 = default_node_id(&hostname()).into(),
            /// a string that happens to be one
            "other" => other: String = hostname(),
        }
    }

    #[test]
    fn what_the_machine_decides_is_no_default() {
        let options = OfTheMachine::default();
        let rows = options.rows();
        let defaults: Vec<_> = rows.iter().map(|row| Entry::of(row).default).collect();
        assert_eq!(defaults[..2], [None, None]);
        assert!(defaults[2].is_some());
    }
}
