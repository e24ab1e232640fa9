//! `docs/HTTP.md` and the routes of the daemons: each names what the other has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nsq_tests::{Admin, Lookupd, Nsqd};

/// The part of the page below `## <daemon>`.
fn section(daemon: &str) -> String {
    let page = fs::read_to_string(root().join("docs/HTTP.md")).expect("there is that page");
    let (_, rest) = page
        .split_once(&format!("\n## {daemon}\n"))
        .expect("it has a section for each daemon");
    let rest = rest.split_once("\n## ").map_or(rest, |(part, _)| part);
    rest.to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `GET /ping` and the like, of the first column of the tables. A path without a method has that of the one before it.
fn documented(daemon: &str) -> Vec<(String, String)> {
    let mut endpoints = vec![];
    for line in section(daemon).lines() {
        let Some(cell) = line
            .strip_prefix("| ")
            .and_then(|line| line.split(" |").next())
        else {
            continue;
        };
        let mut method = None;
        for quoted in cell.split('`').skip(1).step_by(2) {
            let (named, path) = match quoted.split_once(' ') {
                Some((named, path)) if path.starts_with('/') => (Some(named), path),
                _ => (method, quoted),
            };
            method = named;
            if let (Some(method), true) = (method, path.starts_with('/')) {
                endpoints.push((method.to_owned(), path.to_owned()));
            }
        }
    }
    endpoints
}

/// All paths that are named anywhere in the section.
fn named(daemon: &str) -> BTreeSet<String> {
    let section = section(daemon);
    let quoted = section.split('`').skip(1).step_by(2);
    let paths = quoted.map(|quoted| quoted.rsplit(' ').next().unwrap_or(quoted));
    paths.map(str::to_owned).collect()
}

/// The string literals of a daemon's sources that are paths of routes.
fn routes(sources: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        let path = root().join(source);
        let files: Vec<PathBuf> = if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the sources");
            entries.flatten().map(|entry| entry.path()).collect()
        } else {
            vec![path]
        };
        for file in files.iter().filter(|file| file.is_file()) {
            let text = fs::read_to_string(file).expect("sources are text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let literals = code.split('"').skip(1).step_by(2);
            found.extend(
                literals
                    .filter(|literal| is_route(literal))
                    .map(str::to_owned),
            );
        }
    }
    assert!(found.len() > 10, "routes were not found: {found:?}");
    found
}

fn is_route(literal: &str) -> bool {
    literal.starts_with('/')
        && literal.len() > 1
        && literal
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"/:_".contains(&byte))
}

fn assert_all_are_named(daemon: &str, sources: &[&str]) {
    let named = named(daemon);
    let missing: Vec<_> = routes(sources).difference(&named).cloned().collect();
    assert!(
        missing.is_empty(),
        "docs/HTTP.md does not name these of {daemon}: {missing:?}"
    );
}

/// Asks for each; `ask` returns the status and the body.
fn assert_all_are_there(daemon: &str, ask: impl Fn(&str, &str) -> (u16, String)) {
    let endpoints = documented(daemon);
    assert!(endpoints.len() > 10, "{endpoints:?}");
    for (method, path) in endpoints {
        // `:topic` and the like: any name.
        let asked: Vec<_> = path
            .split('/')
            .map(|part| if part.starts_with(':') { "x" } else { part })
            .collect();
        let (status, body) = ask(&method, &asked.join("/"));
        assert!(
            status != 405 && !body.contains(r#""NOT_FOUND""#),
            "docs/HTTP.md names {method} {path}, which {daemon} does not have: {status} {body}"
        );
    }
}

#[test]
fn the_reference_names_every_endpoint_of_nsqd_and_no_other() {
    assert_all_are_named("nsqd", &["bins/nsqd/src/http.rs", "bins/nsqd/src/http"]);
    let nsqd = Nsqd::start(&[]);
    assert_all_are_there("nsqd", |method, path| {
        // Not to a good address: nsqd would drain, and end.
        let path = match (method, path) {
            ("POST", "/drain") => "/drain?to=nowhere",
            _ => path,
        };
        let reply = nsqd.request(method, path, b"");
        (reply.status, reply.text())
    });
}

#[test]
fn the_reference_names_every_endpoint_of_nsqlookupd_and_no_other() {
    assert_all_are_named("nsqlookupd", &["crates/nsq-lookup/src/api.rs"]);
    let lookupd = Lookupd::start();
    assert_all_are_there("nsqlookupd", |method, path| {
        let reply = lookupd.request(method, path, b"");
        (reply.status, reply.text())
    });
}

#[test]
fn the_reference_names_every_endpoint_of_nsqadmin_and_no_other() {
    assert_all_are_named(
        "nsqadmin",
        &[
            "bins/nsqadmin/src/http.rs",
            "bins/nsqadmin/src/pages/routes.rs",
        ],
    );
    let lookupd = Lookupd::start();
    // With what brings the endpoints that are not always there.
    let admin = Admin::of_lookupds(
        &[&lookupd],
        &["--proxy-graphite", "--graphite-url=http://127.0.0.1:1"],
    );
    assert_all_are_there("nsqadmin", |method, path| {
        if path.starts_with("/log") {
            return (200, String::new());
        }
        let reply = admin.request(method, path, b"");
        (reply.status, reply.text())
    });
}
