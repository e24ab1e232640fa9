//! What an action came to, shown on the page after it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use maud::{Markup, html};

/// A sentence and its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) tone: Tone,
    pub(crate) headline: String,
    /// One line each: a node and what it said.
    pub(crate) lines: Vec<String>,
}

/// Whether it went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
}

impl Notice {
    pub(crate) fn new(tone: Tone, headline: impl Into<String>) -> Self {
        Self {
            tone,
            headline: headline.into(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn with_lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(lines);
        self
    }

    /// As a box. The notice of an action can be closed.
    pub(crate) fn render(&self, closable: bool) -> Markup {
        let (class, sign) = match self.tone {
            Tone::Good => ("good", "✓"),
            Tone::Warn => ("warn", "▲"),
            Tone::Bad => ("bad", "✖"),
        };
        html! {
            div class={ "notice " (class) } data-tone=(class) data-test="notice" {
                span.sign aria-hidden="true" { (sign) }
                div.words {
                    strong { (self.headline) }
                    @if !self.lines.is_empty() {
                        ul { @for line in self.lines.iter().take(MOST_LINES) { li { (line) } } }
                    }
                    @if self.lines.len() > MOST_LINES {
                        span.muted { "and " (self.lines.len() - MOST_LINES) " more" }
                    }
                }
                @if closable {
                    button.button.tiny.bare.close.js-only type="button" data-close aria-label="Close this notice" { "✕" }
                }
            }
        }
    }
}

/// Notices on their way from a form to the page after it: a redirect cannot carry them.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: Mutex<(u64, VecDeque<(u64, Notice)>)>,
}

impl Notices {
    /// Keeps a notice; the number goes into the query of the page after.
    pub(crate) fn leave(&self, notice: Notice) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, notices) = &mut *waiting;
        *last += 1;
        if notices.len() >= MOST_NOTICES {
            notices.pop_front();
        }
        notices.push_back((*last, notice));
        *last
    }

    /// The notice of this number. It stays, so that a page loaded twice shows it twice.
    pub(crate) fn find(&self, number: &str) -> Option<Notice> {
        let number: u64 = number.parse().ok()?;
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.1.iter().find(|(other, _)| *other == number);
        found.map(|(_, notice)| notice.clone())
    }
}

/// The oldest give way.
const MOST_NOTICES: usize = 100;
/// A cluster that is down as a whole has a line for every node.
const MOST_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_waits_for_its_page_and_old_ones_give_way() {
        let notices = Notices::default();
        let first = notices.leave(Notice::new(Tone::Good, "first"));
        assert_eq!(notices.find(&first.to_string()).unwrap().headline, "first");
        assert_eq!(notices.find("999"), None);
        assert_eq!(notices.find("x"), None);
        for _ in 0..MOST_NOTICES {
            notices.leave(Notice::new(Tone::Bad, "later"));
        }
        assert_eq!(notices.find(&first.to_string()), None);
    }

    #[test]
    fn what_a_node_says_is_escaped() {
        let notice = Notice::new(Tone::Bad, "<b>").with_lines(["<script>".to_owned()]);
        let html = notice.render(true).into_string();
        assert!(
            html.contains("&lt;b&gt;") && html.contains("&lt;script&gt;"),
            "{html}"
        );
    }
}
