//! A manual page of section 1 or 8, in the man macros.

use std::fmt::Write as _;

use super::Program;

pub(super) fn render(program: &Program<'_>, version: &str) -> String {
    let name = program.name;
    let section = if program.has_config_file() { 8 } else { 1 };
    let mut text = String::new();
    let _ = writeln!(
        text,
        ".TH {} {section} \"\" \"NSQ {version}\" \"NSQ\"",
        name.to_uppercase()
    );
    let _ = writeln!(text, ".SH NAME\n{name} \\- {}", roff(program.about));
    let _ = writeln!(text, ".SH SYNOPSIS\n.B {name}\n[\\fIoptions\\fR]");
    text.push_str(".SH OPTIONS\n");
    text.push_str("Flags take one dash or two. A value follows after = or as the next argument.\n");
    for entry in &program.entries {
        let _ = write!(text, ".TP\n\\fB\\-\\-{}\\fR", roff(entry.flag));
        if let Some(value) = entry.value {
            let _ = write!(text, " \\fI{}\\fR", roff(value));
        }
        text.push('\n');
        let _ = write!(text, "{}.", line(&entry.help));
        if let Some(default) = &entry.default {
            let _ = write!(text, "\nDefault: {}.", roff(default));
        }
        if let Some(key) = &entry.key
            && section == 8
        {
            let _ = write!(text, "\nIn the config file: {}.", roff(key));
        }
        text.push('\n');
    }
    if section == 8 {
        text.push_str(".SH SIGNALS\n");
        text.push_str("SIGTERM and SIGINT stop the program cleanly.\n");
        text.push_str("SIGHUP makes it read its config file and its certificates again; without either, SIGHUP ends it.\n");
    }
    let others: Vec<_> = PROGRAMS
        .iter()
        .filter(|(other, _)| *other != name)
        .map(|(other, section)| format!("\\fB{other}\\fR({section})"))
        .collect();
    let _ = writeln!(text, ".SH SEE ALSO\n{}", others.join(",\n"));
    text
}

/// The suite's pages and their sections.
const PROGRAMS: [(&str, u8); 9] = [
    ("nsqd", 8),
    ("nsqlookupd", 8),
    ("nsqadmin", 8),
    ("nsq_to_file", 1),
    ("nsq_to_http", 1),
    ("nsq_to_nsq", 1),
    ("nsq_tail", 1),
    ("nsq_stat", 1),
    ("to_nsq", 1),
];

/// Text of a line of its own: a dot or quote at its start would be a command.
fn line(text: &str) -> String {
    let text = roff(text);
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

/// Text within a line.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::Sample;

    #[test]
    fn a_page_has_its_parts() {
        let text = crate::reference::render::<Sample>("nsqd", "man").unwrap();
        assert!(text.starts_with(".TH NSQD 8 "), "{text}");
        for part in [
            ".SH NAME\nnsqd \\- receives",
            ".TP\n\\fB\\-\\-node\\-id\\fR \\fIint\\fR\na number whose key is shorter than its flag.\nDefault: 7.\nIn the config file: id.\n",
            "\\fBto_nsq\\fR(1)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("\\fBnsqd\\fR(8)"));
    }

    #[test]
    fn text_is_never_a_command() {
        assert_eq!(line(".TH x"), "\\&.TH x");
        assert_eq!(line("a\\b"), "a\\eb");
    }
}
