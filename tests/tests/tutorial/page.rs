//! What a page of documentation tells its reader to do, step by step.
//!
//! Steps are fenced blocks; what follows the language in the opening line is not shown to readers:
//!
//! | opening line, or comment | step |
//! |---|---|
//! | `sh` | runs to its end, successfully |
//! | `sh background=<name>` | is started and stays |
//! | `sh by-hand` | none: it cannot be done in a test |
//! | `text` | what the last `sh` prints |
//! | `text of=<name>` | lines that come, in any order, from what is in the background |
//! | `<language> file=<path>` | makes that file |
//! | `rust example=<name>` | this is that example of `nsq-client` |
//! | `<!-- stop <name> -->` | Ctrl-C, and a good end |
//! | `<!-- gone <name> -->` | has ended by itself |
//!
//! `needs=<program>` on a block leaves it out where there is no such program.

/// One step, and where it stands.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) needs: Option<String>,
    pub(crate) action: Action,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Action {
    Run {
        script: String,
        /// With `…` for anything; `None` where the page shows nothing.
        output: Option<String>,
    },
    Start {
        name: String,
        script: String,
    },
    Expect {
        name: String,
        lines: Vec<String>,
    },
    Write {
        path: String,
        text: String,
    },
    Example {
        name: String,
        text: String,
    },
    Stop {
        name: String,
    },
    Gone {
        name: String,
    },
}

/// The steps of a page.
///
/// # Panics
/// On a block that is none of the above.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let mut steps = vec![];
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line_number = index + 1;
        if let Some(info) = line.strip_prefix("```") {
            let block = lines.by_ref().map(|(_, line)| line);
            let text: String = block
                .take_while(|line| *line != "```")
                .flat_map(|line| [line, "\n"])
                .collect();
            take_block(&mut steps, line_number, info, text);
        } else if let Some(order) = line.strip_prefix("<!-- ") {
            let order = order.trim_end_matches(" -->");
            let action = match order.split_once(' ') {
                Some(("stop", name)) => Action::Stop { name: name.into() },
                Some(("gone", name)) => Action::Gone { name: name.into() },
                _ => panic!("line {line_number}: no order: {line:?}"),
            };
            steps.push(Step {
                line: line_number,
                needs: None,
                action,
            });
        }
    }
    steps
}

fn take_block(steps: &mut Vec<Step>, line: usize, info: &str, text: String) {
    let mut words = info.split(' ');
    let language = words.next().unwrap_or_default();
    let (mut needs, mut mark) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("needs", program)) => needs = Some(program.to_owned()),
            other => mark = Some(other.unwrap_or((word, ""))),
        }
    }
    let action = match (language, mark) {
        ("sh", Some(("by-hand", ""))) => return,
        ("sh", None) => Action::Run {
            script: text,
            output: None,
        },
        ("sh", Some(("background", name))) => Action::Start {
            name: name.into(),
            script: text,
        },
        ("text", None) => {
            let Some(Action::Run { output, .. }) = steps.last_mut().map(|step| &mut step.action)
            else {
                panic!("line {line}: output of nothing");
            };
            *output = Some(text);
            return;
        }
        ("text", Some(("of", name))) => Action::Expect {
            name: name.into(),
            lines: text.lines().map(str::to_owned).collect(),
        },
        (_, Some(("file", path))) => Action::Write {
            path: path.into(),
            text,
        },
        ("rust", Some(("example", name))) => Action::Example {
            name: name.into(),
            text,
        },
        _ => panic!("line {line}: no such block: ```{info}"),
    };
    steps.push(Step {
        line,
        needs,
        action,
    });
}

/// Whether `text` is `pattern`, with anything in the places of `…`.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        // A … at the end takes all that is left.
        open = part.is_empty();
    }
    open || rest.is_empty()
}

#[test]
fn anything_fits_in_the_place_of_dots() {
    assert!(fits("depth: … msgs: 1…", "depth: 0     msgs: 1001"));
    assert!(fits("OK", "OK"));
    for (pattern, text) in [
        ("OK", "OK "),
        ("a … b", "a b c"),
        ("a…b", "ab c"),
        ("x…", "ax"),
    ] {
        assert!(!fits(pattern, text), "{pattern:?} {text:?}");
    }
}
