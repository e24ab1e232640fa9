//! Which version of NSQ this suite is to its clients, which build of the suite runs, and what it was built with.

/// The version told to clients, to nsqlookupd and in `/info`: the one this suite is compatible with.
/// Clients compare it to know what a daemon can do.
pub const VERSION: &str = "1.3.0";

/// The compiler's version, such as `rustc1.95.0`.
pub const BUILT_WITH: &str = env!("NSQ_BUILT_WITH");

/// This suite's own version.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, in 12 digits, or words that say why it is not known.
pub const COMMIT: &str = env!("NSQ_COMMIT");

/// The line of the first log line and of `/stats`: `nsqd v1.3.0 (built w/rustc1.95.0)`.
///
/// Compat: programs parse it by patterns such as `built w\/([a-z0-9.-]+)`, so the compiler has no blank
/// (internal/version/binary.go; gnsq, tests/integration_server.py).
pub fn line(program: &str) -> String {
    format!("{program} v{VERSION} (built w/{BUILT_WITH})")
}

/// This suite's own version and commit: `0.1.0, commit 0123456789ab`.
pub fn build() -> String {
    format!("{RELEASE}, commit {COMMIT}")
}

/// The answer to `--version`: [`line()`], and the [`build`] on a line of its own, where no parser trips over it.
pub fn answer(program: &str) -> String {
    format!("{}\nbuild {}", line(program), build())
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn the_version_is_what_clients_parse() {
        let answer = answer("nsqd");
        // gnsq's own pattern, which is matched against the beginning.
        let pattern = r"^(?P<name>[a-z]+) v(?P<version>[0-9]+\.[0-9]+\.[0-9]+)(?:-[a-z]+)? \(built w/(?P<go>[a-z0-9.-]+)\)";
        let found = Regex::new(pattern)
            .unwrap()
            .captures(&answer)
            .expect(&answer);
        assert_eq!((&found["name"], &found["version"]), ("nsqd", VERSION));
        assert!(found["go"].starts_with("rustc1."), "{answer}");
    }

    #[test]
    fn the_second_line_names_the_build() {
        let answer = answer("nsqd");
        let (first, second) = answer.split_once('\n').expect("two lines");
        assert_eq!(first, line("nsqd"));
        let commit = second
            .strip_prefix(&format!("build {RELEASE}, commit "))
            .expect(second);
        let is_hash = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(
            is_hash || commit.starts_with("unknown (") || option_env!("NSQ_COMMIT").is_some(),
            "{commit}"
        );
    }
}
