//! Regular expressions over names, as Go reads them.
//!
//! What both syntaxes know means the same. What would mean something else here than in Go is refused.

use regex::bytes::{Regex, RegexBuilder};

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is wrong, or too large when compiled.
    #[error("{0}")]
    Invalid(String),
    /// It means one thing in Go and another one here: not to be guessed at.
    #[error("{0:?} has a meaning here that it does not have in Go: escape it")]
    Ambiguous(&'static str),
}

/// The pattern of that text, to be found anywhere in a name: who means all of it writes `^...$`. It may take
/// `limit_bytes` when compiled.
///
/// # Errors
/// [`PatternError`].
pub fn compile(text: &str, limit_bytes: usize) -> Result<Regex, PatternError> {
    if let Some(ambiguity) = ambiguity(text) {
        return Err(PatternError::Ambiguous(ambiguity));
    }
    let build = |unicode| {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(unicode);
        builder.size_limit(limit_bytes);
        builder.dfa_size_limit(limit_bytes);
        builder.build()
    };
    // Names are ASCII, for which the two agree; without Unicode's tables a pattern is much smaller, but some,
    // such as `\pL`, cannot do without.
    build(false)
        .or_else(|_| build(true))
        .map_err(|error| PatternError::Invalid(error.to_string()))
}

/// What `text` has in it that Go reads differently, if anything: in a class, a bracket and the doubled signs
/// of set operations; outside, the word boundaries that Go does not know.
fn ambiguity(text: &str) -> Option<&'static str> {
    let mut rest = text;
    let mut in_class = false;
    while let Some(first) = rest.chars().next() {
        let signs: &[&'static str] = if in_class {
            &["&&", "--", "~~"]
        } else {
            &["\\<", "\\>", "\\b{"]
        };
        if let Some(sign) = signs.iter().find(|sign| rest.starts_with(**sign)) {
            return Some(sign);
        }
        let mut length = first.len_utf8();
        match first {
            '\\' => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if in_class => match rest.strip_prefix("[:") {
                None => return Some("["),
                Some(class) => length = class.find(":]").map_or(2, |at| at + 4),
            },
            '[' => {
                in_class = true;
                // A bracket that comes first closes nothing.
                let inner = rest[1..].trim_start_matches('^');
                length = rest.len() - inner.len() + usize::from(inner.starts_with(']'));
            }
            ']' => in_class = false,
            _ => {}
        }
        rest = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_BYTES: usize = 128 << 10;

    fn matches(pattern: &str, name: &str) -> bool {
        let regex = compile(pattern, LIMIT_BYTES).unwrap();
        regex.is_match(name.as_bytes())
    }

    fn error(pattern: &str) -> PatternError {
        compile(pattern, LIMIT_BYTES).unwrap_err()
    }

    #[test]
    fn gos_classes_and_flags_are_understood() {
        for (pattern, name) in [
            (r"^[[:alpha:]_]+$", "a_b"),
            (r"^\pL+$", "abc"),
            (r"(?i)^ABC$", "abc"),
            (r"^[^é]+$", "abc"),
            (r"^[]a]+$", "a"),
            (r"^[^]b]+$", "a"),
            (r"^[\[a]+$", "a"),
            (r"^[a\-z]+$", "a-z"),
            (r"^\w+#ephemeral$", "t#ephemeral"),
            (r"^a-b&&c?", "a-b&&"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_go_would_read_differently_is_refused() {
        for (pattern, sign) in [
            ("[a-z&&b]", "&&"),
            ("[a-z--b]", "--"),
            ("x[a~~b]", "~~"),
            ("[[a]b]", "["),
            ("[]&&a]", "&&"),
            (r"\<t", r"\<"),
            (r"t\>", r"\>"),
            (r"\b{start}t", r"\b{"),
        ] {
            assert_eq!(error(pattern), PatternError::Ambiguous(sign), "{pattern}");
        }
        for fine in [r"[\&&]", r"\\<", "--", "[[:alpha:]-]", r"[a\]]--"] {
            assert_eq!(ambiguity(fine), None, "{fine}");
        }
    }
}
