//! Regular expressions over names, as Go reads them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex::bytes::{Regex, RegexBuilder};

/// A compiled pattern. Found anywhere in a name, it matches: who means all of it writes `^...$`.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Arc<Regex>);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    /// It is wrong, or too large when compiled.
    #[error("{0}")]
    Invalid(String),
    /// It means one thing in Go and another one here. Permissions are not to be guessed at.
    #[error("{0:?} has a meaning here that it does not have in Go: escape it")]
    Ambiguous(&'static str),
}

/// Every pattern in use. Most clients are granted the same few: each is compiled and held once.
#[derive(Debug, Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Weak<Regex>>>);

impl Patterns {
    /// The pattern of that text.
    ///
    /// # Errors
    /// [`PatternError`].
    pub(super) fn compile(&self, text: &str) -> Result<Pattern, PatternError> {
        let known = self.lock().get(text).and_then(Weak::upgrade);
        if let Some(regex) = known {
            return Ok(Pattern(regex));
        }
        let regex = Arc::new(compile(text)?);
        let mut table = self.lock();
        if table.len() == table.capacity() {
            table.retain(|_, regex| regex.strong_count() > 0);
        }
        table.insert(text.to_owned(), Arc::downgrade(&regex));
        Ok(Pattern(regex))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Regex>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pattern {
    pub(super) fn is_in(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    if let Some(ambiguity) = ambiguity(text) {
        return Err(PatternError::Ambiguous(ambiguity));
    }
    let build = |unicode| {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(unicode);
        builder.size_limit(COMPILED_BYTES);
        builder.dfa_size_limit(COMPILED_BYTES);
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

/// The most that one pattern may take when compiled. Names have at most 64 characters, and patterns for them
/// take a few kilobytes.
const COMPILED_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Patterns::default().compile(pattern).unwrap().is_in(name)
    }

    fn error(pattern: &str) -> PatternError {
        Patterns::default().compile(pattern).unwrap_err()
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_anchored() {
        assert!(matches("a", "bar"));
        assert!(!matches("^a", "bar"));
        assert!(matches("", ""));
        assert!(matches(".*", ""));
        assert!(!matches(".", ""));
        assert!(!matches("^t$", "t\n"));
        assert!(matches(
            "^(orders|invoices)(_[a-z0-9-]{1,16})?$",
            "orders_eu-1"
        ));
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

    #[test]
    fn what_is_wrong_or_huge_is_refused() {
        for pattern in ["(", "[a", "*", r"(?=a)", r"\1", r"[[:", "\\"] {
            assert!(
                matches!(error(pattern), PatternError::Invalid(_)),
                "{pattern}"
            );
        }
        let huge = error("(a{1000}){1000}").to_string();
        assert!(huge.contains("size limit"), "{huge}");
    }

    #[test]
    fn equal_patterns_are_compiled_once_and_forgotten_with_their_last_user() {
        let patterns = Patterns::default();
        let first = patterns.compile("a").unwrap();
        assert!(Arc::ptr_eq(&first.0, &patterns.compile("a").unwrap().0));
        for number in 0..1000 {
            patterns.compile(&number.to_string()).unwrap();
        }
        assert!(patterns.lock().len() < 100, "{}", patterns.lock().len());
        assert!(Arc::ptr_eq(&first.0, &patterns.compile("a").unwrap().0));
    }
}
