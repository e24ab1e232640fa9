//! Which version of NSQ this suite is to its clients, and what it was built with.

/// The version told to clients, to nsqlookupd and in `/info`: the one this suite is compatible with.
/// Clients compare it to know what a daemon can do.
pub const VERSION: &str = "1.3.0";

/// The compiler's version, such as `rustc 1.95.0`.
pub const BUILT_WITH: &str = env!("NSQ_BUILT_WITH");

/// The line of `--version` and of the first log line: `nsqd v1.3.0 (built w/rustc 1.95.0)`.
pub fn line(program: &str) -> String {
    format!("{program} v{VERSION} (built w/{BUILT_WITH})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_program_version_and_compiler() {
        let line = line("nsqd");
        assert!(line.starts_with("nsqd v1.3.0 (built w/rustc 1."), "{line}");
        assert!(line.ends_with(')') && !line.contains('\n'));
    }
}
