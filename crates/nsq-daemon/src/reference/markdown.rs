//! The reference: a heading and a table for a program.

use std::fmt::Write as _;

use super::Program;

pub(super) fn render(program: &Program<'_>) -> String {
    let keys = program.has_config_file();
    let mut text = format!("## {}\n\n", program.name);
    let _ = writeln!(
        text,
        "`{}` {}.{}\n",
        program.name,
        program.about,
        if keys {
            " The third column is the key in the config file."
        } else {
            ""
        }
    );
    text.push_str(if keys {
        "| flag | default | key | |\n|---|---|---|---|\n"
    } else {
        "| flag | default | |\n|---|---|---|\n"
    });
    for entry in &program.entries {
        let value = entry.value.map_or(String::new(), |word| format!(" {word}"));
        let default = entry.default.as_deref().map_or(String::new(), code);
        let _ = write!(text, "| `--{}{value}` | {default} |", entry.flag);
        if keys {
            let key = entry.key.as_deref().map_or(String::new(), code);
            let _ = write!(text, " {key} |");
        }
        let _ = writeln!(text, " {} |", escaped(&entry.help));
    }
    text
}

/// `text` as code within a table.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

/// Plain text within a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use crate::options::tests::Sample;
    use crate::reference::render;

    #[test]
    fn a_row_has_flag_default_key_and_help() {
        let text = render::<Sample>("sample", "markdown").unwrap();
        for line in [
            "## sample",
            "| `--node-id int` | `7` | `id` | a number whose key is shorter than its flag |",
            "| `--version` |  |  | print the version |",
            "| `--log-prefix string` | `\"[x] \"` | `log_prefix` | what lines begin with |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_would_end_a_cell_does_not() {
        assert_eq!(super::code("a|b"), "`a\\|b`");
        assert_eq!(super::code("`"), "`` ` ``");
        assert_eq!(super::escaped("<a|*>"), "&lt;a\\|\\*>");
    }
}
