//! The tutorial, done as it says.

mod page;
mod stage;

use std::fs;
use std::path::Path;
use std::process::Command;

use nsq_tests::say_loudly;
use page::{Action, Step, fits, steps};
use stage::Stage;

#[test]
fn the_tutorial_does_what_it_says() {
    for program in ["bash", "curl"] {
        if !is_there(program) {
            say_loudly(&format!(
                "SKIPPED: no {program} is on this machine, the tutorial was not tried"
            ));
            return;
        }
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(project.join("docs/TUTORIAL.md")).expect("there is a tutorial");
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
            "SKIPPED: no {program} is on this machine, its part of the tutorial was not tried"
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
        eprintln!("line {}", step.line);
        take(&mut stage, step, &project);
    }
}

fn take(stage: &mut Stage, step: &Step, project: &Path) {
    let line = step.line;
    match &step.action {
        Action::Run { script, output } => {
            let printed = stage.run(script).stdout;
            let printed = String::from_utf8_lossy(&printed);
            if let Some(shown) = output {
                assert_same(line, &stage.here(shown), &printed);
            }
        }
        Action::Start { name, script } => stage.start(name, script),
        Action::Expect { name, lines } if stage.is_running(name) => {
            for line in lines {
                stage.expect(name, line);
            }
        }
        Action::Stop { name } if stage.is_running(name) => stage.stop(name),
        // Its language is not here.
        Action::Expect { .. } | Action::Stop { .. } => {}
        Action::Gone { name } => stage.gone(name),
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
        .arg(if program == "go" {
            "version"
        } else {
            "--version"
        })
        .output();
    found.is_ok_and(|output| output.status.success())
}
