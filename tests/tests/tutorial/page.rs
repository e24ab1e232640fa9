//! The steps that a page of documentation has its reader do.
//!
//! A step must be clear from the page as readers see it, so the test reads the same text as they do:
//!
//! | on the page | step |
//! |---|---|
//! | `**Terminal 2**` | the blocks that follow belong to that terminal, which is opened when it is first named |
//! | `**every terminal**` | the next block is what each terminal runs first |
//! | `**Ctrl-C** in terminal 2` | the key |
//! | a file's name in bold and backquotes | the next block, of no shell, is that file |
//!
//! What follows the language in a block's opening line is not shown to readers, and adds nothing that they need:
//!
//! | opening line | step |
//! |---|---|
//! | `sh` | is typed, and returns successfully |
//! | `sh stays` | is typed, and continues until Ctrl-C |
//! | `sh by-hand` | none: it cannot be done in a test |
//! | `text` | all that the last `sh` has shown in its terminal; after one that stays or leaves a program running, lines among what it shows |
//! | `text later` | lines that the terminal shows at some time after its last command, in any order |
//! | `rust example=<name>` | this is that example of `nsq-client` |
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
    /// What each terminal runs when it is opened.
    EveryTerminal {
        script: String,
    },
    Run {
        terminal: usize,
        script: String,
        /// With `…` for anything; `None` where the page shows nothing.
        output: Option<String>,
    },
    Stay {
        terminal: usize,
        script: String,
    },
    Expect {
        terminal: usize,
        lines: Vec<String>,
    },
    Interrupt {
        terminal: usize,
    },
    Write {
        path: String,
        text: String,
    },
    Example {
        name: String,
        text: String,
    },
}

/// The steps of a page.
///
/// # Panics
/// On a block that is none of the above.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let mut reader = Reader::default();
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line_number = index + 1;
        if let Some(info) = line.strip_prefix("```") {
            let block = lines.by_ref().map(|(_, line)| line);
            let text: String = block
                .take_while(|line| *line != "```")
                .flat_map(|line| [line, "\n"])
                .collect();
            reader.take_block(line_number, info, text);
        } else {
            reader.take_prose(line_number, line);
        }
    }
    reader.steps
}

#[derive(Default)]
struct Reader {
    steps: Vec<Step>,
    terminal: usize,
    every_terminal: bool,
    file: Option<String>,
}

impl Reader {
    /// What is in bold says where the next block belongs.
    fn take_prose(&mut self, line: usize, text: &str) {
        let pieces: Vec<&str> = text.split("**").collect();
        for (index, piece) in pieces.iter().enumerate().skip(1).step_by(2) {
            if let Some(number) = piece.strip_prefix("Terminal ") {
                self.terminal = number.parse().expect("terminals have numbers");
            } else if *piece == "every terminal" {
                self.every_terminal = true;
            } else if *piece == "Ctrl-C" {
                let rest = pieces.get(index + 1).copied().unwrap_or_default();
                let number = rest
                    .strip_prefix(" in terminal ")
                    .and_then(|rest| rest.split([' ', '.', ',', ':']).next())
                    .and_then(|number| number.parse().ok());
                let terminal = number.unwrap_or_else(|| panic!("line {line}: in which terminal?"));
                self.push(line, None, Action::Interrupt { terminal });
            } else if let Some(path) = piece
                .strip_prefix('`')
                .and_then(|path| path.strip_suffix('`'))
            {
                self.file = Some(path.to_owned());
            }
        }
    }

    fn take_block(&mut self, line: usize, info: &str, text: String) {
        let mut words = info.split(' ');
        let language = words.next().unwrap_or_default();
        let (mut needs, mut mark) = (None, "");
        for word in words {
            match word.split_once('=') {
                Some(("needs", program)) => needs = Some(program.to_owned()),
                _ => mark = word,
            }
        }
        let terminal = self.terminal;
        let action = match (language, mark) {
            ("sh", "by-hand") => return,
            ("sh", "") if std::mem::take(&mut self.every_terminal) => {
                Action::EveryTerminal { script: text }
            }
            ("sh" | "text", _) if terminal == 0 => panic!("line {line}: in which terminal?"),
            ("sh", "") => Action::Run {
                terminal,
                script: text,
                output: None,
            },
            ("sh", "stays") => Action::Stay {
                terminal,
                script: text,
            },
            ("text", "") => match self.steps.last_mut().map(|step| &mut step.action) {
                Some(Action::Run { script, output, .. }) if !leaves_a_program(script) => {
                    *output = Some(text);
                    return;
                }
                Some(Action::Run { .. } | Action::Stay { .. }) => expect(terminal, &text),
                _ => panic!("line {line}: output of nothing"),
            },
            ("text", "later") => expect(terminal, &text),
            ("rust", _) if mark.starts_with("example=") => Action::Example {
                name: mark.trim_start_matches("example=").to_owned(),
                text,
            },
            _ => match self.file.take() {
                Some(path) => Action::Write { path, text },
                None => panic!("line {line}: of which file? ```{info}"),
            },
        };
        self.push(line, needs, action);
    }

    fn push(&mut self, line: usize, needs: Option<String>, action: Action) {
        self.steps.push(Step {
            line,
            needs,
            action,
        });
    }
}

fn expect(terminal: usize, text: &str) -> Action {
    Action::Expect {
        terminal,
        lines: text.lines().map(str::to_owned).collect(),
    }
}

/// Whether a program runs on in the terminal's background and may print at any time.
fn leaves_a_program(script: &str) -> bool {
    script
        .lines()
        .any(|line| line.ends_with(" &") || line.contains(" & "))
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

#[test]
fn a_block_belongs_to_the_terminal_and_the_file_that_readers_see() {
    let page = "In **Terminal 2**:\n```sh\nls\n```\n```text\na\n```\nWrite **`x.py`**:\n```python needs=python3\n1\n```\n\
                **Ctrl-C** in terminal 2.\n";
    let steps = steps(page);
    assert!(
        matches!(&steps[0].action, Action::Run { terminal: 2, script, output: Some(output) }
            if script == "ls\n" && output == "a\n")
    );
    assert!(matches!(&steps[1].action, Action::Write { path, .. } if path == "x.py"));
    assert_eq!(steps[1].needs.as_deref(), Some("python3"));
    assert!(matches!(steps[2].action, Action::Interrupt { terminal: 2 }));
}
