//! The tutorial and the guides, done as they say: one shell in each terminal, and only what readers see.

mod page;
mod stage;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::Command;

use nsq_tests::say_loudly;
use page::{Action, Step, fits, steps};
use stage::Stage;

#[test]
fn the_tutorial_does_what_it_says() {
    follow("TUTORIAL.md", &["bash", "curl", "setsid"]);
}

#[test]
fn the_guide_to_tls_does_what_it_says() {
    follow("TLS.md", &["bash", "curl", "setsid", "openssl"]);
}

#[test]
fn the_guide_to_an_authorization_server_does_what_it_says() {
    follow("AUTH.md", &["bash", "curl", "setsid", "python3"]);
}

fn follow(name: &str, programs: &[&str]) {
    for program in programs {
        if !is_there(program) {
            say_loudly(&format!(
                "SKIPPED: no {program} is on this machine, docs/{name} was not tried"
            ));
            return;
        }
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(project.join("docs").join(name)).expect("there is that page");
    let steps = steps(&page);
    let mut missing: Vec<&str> = steps
        .iter()
        .filter_map(|step| step.needs.as_deref())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing.retain(|program| !is_there(program));
    for program in &missing {
        say_loudly(&format!(
            "SKIPPED: no {program} is on this machine, its part of docs/{name} was not tried"
        ));
    }

    let mut stage = Stage::new();
    for step in &steps {
        if step
            .needs
            .as_deref()
            .is_some_and(|program| missing.contains(&program))
        {
            continue;
        }
        eprintln!("docs/{name}, line {}", step.line);
        take(&mut stage, step, &project);
    }
}

fn take(stage: &mut Stage, step: &Step, project: &Path) {
    let line = step.line;
    match &step.action {
        Action::EveryTerminal { script } => stage.begin_every_terminal_with(script),
        Action::Run {
            terminal,
            script,
            output,
        } => {
            let printed = stage.run(*terminal, script);
            if let Some(shown) = output {
                assert_same(line, &stage.here(shown), &printed);
            }
        }
        Action::Stay { terminal, script } => stage.stay(*terminal, script),
        Action::Expect { terminal, lines } if stage.is_open(*terminal) => {
            for line in lines {
                stage.expect(*terminal, line);
            }
        }
        Action::Interrupt { terminal } if stage.is_open(*terminal) => stage.interrupt(*terminal),
        // The terminal's language is not on this machine.
        Action::Expect { .. } | Action::Interrupt { .. } => {}
        Action::Write { path, text } => stage.write(path, text),
        Action::Example { name, text } => {
            let path = format!("crates/nsq-client/examples/{name}.rs");
            let example = fs::read_to_string(project.join(&path)).expect("there is that example");
            assert!(
                example.ends_with(text.as_str()),
                "line {line}: not what {path} says"
            );
        }
    }
}

fn assert_same(line: usize, shown: &str, printed: &str) {
    let (shown_lines, printed_lines) = (shown.lines(), printed.lines());
    let same = shown_lines.clone().count() == printed_lines.clone().count()
        && shown_lines
            .zip(printed_lines)
            .all(|(shown, printed)| fits(shown, printed));
    assert!(
        same,
        "line {line}: the page shows\n{shown}\nit prints\n{printed}"
    );
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program)
        .arg(match program {
            "go" | "openssl" => "version",
            _ => "--version",
        })
        .output();
    found.is_ok_and(|output| output.status.success())
}
