//! `docs/PROOFS.md` names a test for each cell of its fault table, and these tests exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

const FAULTS: usize = 17;
const MODES: usize = 4;

#[test]
fn every_cell_of_the_fault_table_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = fs::read_to_string(root.join("docs/PROOFS.md"));
    let document = document.expect("it is part of the sources");
    let mut tests = HashSet::new();
    for folder in ["crates", "bins", "tests"] {
        collect_tests(&root.join(folder), &mut tests);
    }
    let rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| fault"));
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .collect();
    assert_eq!(rows.len(), FAULTS, "faults");
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 1 + MODES, "{row}");
        for cell in &cells[1..] {
            // Flags and paths stand in backquotes too.
            let quoted = cell.split('`').skip(1).step_by(2);
            let named: Vec<_> = quoted.filter(|name| is_test_name(name)).collect();
            assert!(!named.is_empty(), "no test in {cell:?} of {row}");
            for name in named {
                assert!(tests.contains(name), "there is no test {name}");
            }
        }
    }
}

/// A sentence in words: neither a flag nor a path is.
fn is_test_name(name: &str) -> bool {
    name.matches('_').count() > 1
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The names of the functions that follow a `#[test]`, or the like, or stand in a `proptest!`.
fn collect_tests(folder: &Path, tests: &mut HashSet<String>) {
    for entry in fs::read_dir(folder)
        .expect("a folder of the sources")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("node_modules") && !path.ends_with("target") {
                collect_tests(&path, tests);
            }
            continue;
        }
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("sources are text");
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(function) = line.split("fn ").nth(1)
                && is_test
            {
                let name = function.split(['(', '<']).next().unwrap_or_default();
                tests.insert(name.to_owned());
                is_test = false;
            }
        }
    }
}
