//! What shells need to complete a program's flags: bash, zsh and fish.

use std::fmt::Write as _;

use super::Program;

pub(super) fn bash(program: &Program<'_>) -> String {
    let name = program.name;
    let flags = program.entries.iter().map(|entry| {
        let end = if entry.value.is_some() { "=" } else { "" };
        format!("--{}{end}", entry.flag)
    });
    let flags = flags.collect::<Vec<_>>().join(" ");
    let paths: Vec<_> = program
        .entries
        .iter()
        .filter(|entry| entry.takes_a_path())
        .map(|entry| format!("--{}", entry.flag))
        .collect();
    // Words are split at `=`, so a value's flag stands two words before it, or one when a space separates them.
    format!(
        "_{name}() {{\n\
         \x20   local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}\n\
         \x20   if [[ $current == = ]]; then current=; elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi\n\
         \x20   case $before in\n\
         \x20       {paths}) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n\
         \x20       *) compopt -o nospace; mapfile -t COMPREPLY < <(compgen -W '{flags}' -- \"$current\") ;;\n\
         \x20   esac\n\
         }}\n\
         complete -F _{name} {name}\n",
        paths = if paths.is_empty() {
            "''".to_owned()
        } else {
            paths.join("|")
        },
    )
}

pub(super) fn zsh(program: &Program<'_>) -> String {
    let mut text = format!("#compdef {}\n_arguments \\\n", program.name);
    for entry in &program.entries {
        let help = entry
            .help
            .replace('\'', "'\\''")
            .replace('\\', "\\\\")
            .replace('[', "\\[")
            .replace(']', "\\]");
        let value = match entry.value {
            None => String::new(),
            Some(word) if entry.takes_a_path() => format!(":{word}:_files"),
            Some(word) => format!(":{word}: "),
        };
        let equals = if entry.value.is_some() { "=" } else { "" };
        let _ = writeln!(text, "  '*--{}{equals}[{help}]{value}' \\", entry.flag);
    }
    text.push_str("  '*: :'\n");
    text
}

pub(super) fn fish(program: &Program<'_>) -> String {
    let mut text = String::new();
    for entry in &program.entries {
        let help = entry.help.replace('\\', "\\\\").replace('\'', "\\'");
        let value = match entry.value {
            None => " -f",
            Some(_) if entry.takes_a_path() => " -r -F",
            Some(_) => " -x",
        };
        let _ = writeln!(
            text,
            "complete -c {} -l {}{value} -d '{help}'",
            program.name, entry.flag
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::options::tests::Sample;
    use crate::reference::render;

    #[test]
    fn a_path_is_completed_as_one_and_a_switch_takes_no_value() {
        let fish = render::<Sample>("sample", "fish").unwrap();
        assert!(fish.contains("complete -c sample -l config -r -F -d 'path of a config file'\n"));
        assert!(fish.contains("complete -c sample -l version -f -d 'print the version'\n"));
        let zsh = render::<Sample>("sample", "zsh").unwrap();
        assert!(zsh.contains("'*--config=[path of a config file]:string:_files'"));
        assert!(zsh.contains("'*--version[print the version]' "));
    }

    #[test]
    fn bash_completes_flags_and_paths() {
        let script = render::<Sample>("sample", "bash").unwrap();
        let completed = |words: &str| {
            let count = words.split(' ').count() - 1;
            let line = format!(
                "compopt() {{ :; }}\n{script}COMP_WORDS=({words})\nCOMP_CWORD={count}\n_sample\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
            );
            let output = Command::new("bash").args(["-c", &line]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(completed("sample --node"), "--node-id=\n");
        assert_eq!(completed("sample --ver"), "--version\n");
        assert_eq!(completed("sample --config = Cargo.to"), "Cargo.toml\n");
        assert_eq!(completed("sample --config Cargo.to"), "Cargo.toml\n");
    }
}
