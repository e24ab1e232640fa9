//! Tells the crate what builds it, and from which commit, for the version text.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    println!("cargo::rerun-if-env-changed=NSQ_COMMIT");
    println!("cargo::rustc-env=NSQ_BUILT_WITH={}", compiler());
    println!("cargo::rustc-env=NSQ_COMMIT={}", commit());
}

/// `rustc1.95.0`. Without a blank, as Go's `go1.21.5`: programs parse the version text.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let line = output(Command::new(rustc).arg("--version")).unwrap_or_default();
    // `rustc 1.95.0 (hash date)`: the first two words.
    let words: Vec<_> = line.split_whitespace().take(2).collect();
    if words.is_empty() {
        "rustc".to_owned()
    } else {
        words.concat()
    }
}

/// What follows `commit ` in the version text: `NSQ_COMMIT`, else what git says of this source, else that it is not known.
fn commit() -> String {
    if let Some(given) = std::env::var("NSQ_COMMIT")
        .ok()
        .filter(|given| !given.is_empty())
    {
        return given;
    }
    // A build for development would compile everything again after each commit, and its source has changed since anyway.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "unknown (a development build)".to_owned();
    }
    of_this_source().unwrap_or_else(|| "unknown (built without git)".to_owned())
}

fn of_this_source() -> Option<String> {
    let source = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?).join("../..");
    let source = source.canonicalize().ok()?;
    // A tarball may be unpacked within a repository of something else.
    let top = git(&source, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != source {
        return None;
    }
    let commit = git(&source, &["rev-parse", "--short=12", "HEAD"])?;
    // Commits, checkouts and resets are noted in the log of HEAD; where none is kept, the branch's own file changes.
    let branch = git(&source, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"]
        .into_iter()
        .chain(branch.as_deref())
    {
        if let Some(path) = git(&source, &["rev-parse", "--git-path", name]) {
            let path = source.join(path);
            // One that is not there would have everything built again each time.
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    Some(commit)
}

fn git(source: &Path, args: &[&str]) -> Option<String> {
    output(Command::new("git").arg("-C").arg(source).args(args))
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}
