//! `docs/REFERENCE.md` and the programs say the same, and so do their manual pages.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nsq_tests::{build_folder, say_loudly};

const PROGRAMS: [&str; 9] = [
    "nsqd",
    "nsqlookupd",
    "nsqadmin",
    "nsq_stat",
    "nsq_tail",
    "nsq_to_file",
    "nsq_to_http",
    "nsq_to_nsq",
    "to_nsq",
];

const HEAD: &str = "# Reference of every flag

The programs generate this page: `<program> --help=markdown` prints the part of a program. `--help=man` prints a manual
page, and `--help=bash`, `--help=zsh` and `--help=fish` print completions for these shells. A flag takes one dash or
two; its value follows after `=` or as the next argument. The command line overrides the config file.

";

fn help(program: &str, form: &str) -> String {
    let output = Command::new(build_folder().join(program))
        .arg(format!("--help={form}"))
        .output();
    let output = output.expect("the program can be started");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{program}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("help is text")
}

/// With `WRITE_REFERENCE=1` in the environment, the file is replaced.
#[test]
fn the_reference_says_what_the_programs_say() {
    let mut made = HEAD.to_owned();
    for program in PROGRAMS {
        let _ = writeln!(made, "{}", help(program, "markdown"));
    }
    let made = format!("{}\n", made.trim_end());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/REFERENCE.md");
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        fs::write(&path, &made).expect("the reference can be written");
    }
    let there = fs::read_to_string(&path).expect("there is a reference");
    for (there, made) in there.lines().zip(made.lines()) {
        assert_eq!(
            there, made,
            "docs/REFERENCE.md is out of date: run `make reference`"
        );
    }
    assert_eq!(
        there.len(),
        made.len(),
        "docs/REFERENCE.md is out of date: run `make reference`"
    );
}

#[test]
fn manual_pages_can_be_set_without_a_warning() {
    for program in PROGRAMS {
        let page = help(program, "man");
        let groff = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut groff) = groff else {
            say_loudly("NO GROFF: manual pages were not checked");
            return;
        };
        let mut stdin = groff.stdin.take().expect("stdin is piped");
        stdin.write_all(page.as_bytes()).expect("groff reads");
        drop(stdin);
        let output = groff.wait_with_output().expect("groff ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
        let set = String::from_utf8_lossy(&output.stdout);
        assert!(set.contains(&format!("{program} - ")), "{set}");
    }
}
