//! Patterns over names, each held once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nsq_daemon::go_pattern::{self, PatternError};
use regex::bytes::Regex;

/// A compiled pattern. Found anywhere in a name, it matches: who means all of it writes `^...$`.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Arc<Regex>);

/// Every pattern in use. Most clients are granted the same few: each is compiled and held once.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Mutex<HashMap<String, Weak<Regex>>>);

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
        let regex = Arc::new(go_pattern::compile(text, COMPILED_BYTES)?);
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
