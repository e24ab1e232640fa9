//! Tells the crate which compiler builds it, for the version line.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    // `rustc 1.95.0 (hash date)`: the first two words.
    let line = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let words: Vec<_> = line.split_whitespace().take(2).collect();
    let built_with = if words.is_empty() {
        "rustc".to_owned()
    } else {
        words.join(" ")
    };
    println!("cargo::rustc-env=NSQ_BUILT_WITH={built_with}");
}
