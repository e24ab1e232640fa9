//! The messages of a topic or channel, shown without taking them: one row for each, merged over the nodes, the oldest first.

pub(crate) mod body;

use maud::{Markup, html};

use crate::cluster::{Found, Peek, PeekedMessage};

use super::context::PageContext;
use super::form;
use super::format;
use super::links::segment;
use super::routes::WHOLE_BODY_BYTES;
use super::state::messages;
use super::widgets;

/// What the viewer wants to see: `?look=1&look-text=&look-attempts=&look-age=&look-order=&look-count=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    text: String,
    least_attempts: u32,
    /// Minutes since it was published, at least.
    least_age: i64,
    newest_first: bool,
    count: usize,
}

/// Whose messages they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) topic: &'a str,
    /// `None` for those that no channel has received yet.
    pub(crate) channel: Option<&'a str>,
}

/// A message, where it is, and in what state.
struct Row<'a> {
    node: &'a str,
    state: &'static str,
    message: &'a PeekedMessage,
    body: Option<Vec<u8>>,
}

impl Wanted {
    /// What the query asks for; `None` when it does not ask for messages.
    pub(crate) fn of(context: &PageContext<'_>) -> Option<Self> {
        let given = |name: &str| context.query.first(name).filter(|value| !value.is_empty());
        given("look")?;
        let number = |name: &str| given(name).and_then(|text| text.trim().parse::<u32>().ok());
        let count = number("look-count").and_then(|count| usize::try_from(count).ok());
        Some(Self {
            text: given("look-text")
                .unwrap_or_default()
                .chars()
                .take(LONGEST_TEXT)
                .collect(),
            least_attempts: number("look-attempts").unwrap_or(0),
            least_age: i64::from(number("look-age").unwrap_or(0)),
            newest_first: given("look-order") == Some("newest"),
            count: count
                .unwrap_or(COUNTS[0])
                .clamp(1, COUNTS[COUNTS.len() - 1]),
        })
    }

    /// How many messages of each kind to fetch from each node, which gives the oldest ones: with a filter, or for the
    /// newest, as many as there may be.
    pub(crate) fn fetched(&self) -> u32 {
        let has_filter = !self.text.is_empty() || self.least_attempts > 0 || self.least_age > 0;
        let count = if has_filter || self.newest_first {
            COUNTS[COUNTS.len() - 1]
        } else {
            self.count
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn takes(&self, row: &Row<'_>, now_nanos: i64) -> bool {
        let age = now_nanos.saturating_sub(row.message.timestamp);
        let is_found = || {
            let text = row.body.as_deref().map(String::from_utf8_lossy);
            let text = text.unwrap_or_default().to_lowercase();
            text.contains(&self.text.to_lowercase()) || row.message.id.contains(&self.text)
        };
        row.message.attempts >= self.least_attempts
            && age >= self.least_age.saturating_mul(NANOS_PER_MINUTE)
            && (self.text.is_empty() || is_found())
    }
}

/// The section on the page: an offer to look, or what was seen.
pub(crate) fn panel(
    context: &PageContext<'_>,
    owner: Owner<'_>,
    seen: Option<(&Wanted, &Found<Vec<Peek>>)>,
) -> Markup {
    html! {
        // Once opened it stands still: messages are read, and do not run away.
        section.panel id="inside" aria-labelledby="inside-title" data-stands[seen.is_some()] {
            div.panel-head {
                h2 id="inside-title" { "Messages" }
                @if let Some((wanted, _)) = seen {
                    (filter(wanted))
                    a.button.tiny href="?#inside" data-test="close-messages" { "Close" }
                } @else {
                    a.button href="?look=1#inside" data-soft data-test="look" { "Show messages" }
                }
            }
            @match seen {
                None => div.panel-body { p.muted {
                    @if owner.channel.is_some() {
                        "Shows messages that are waiting, in flight or deferred, without removing them from the channel."
                    } @else {
                        "Shows messages that no channel has received yet, without removing them from the topic."
                    }
                } },
                Some((wanted, found)) => (list(context, owner, wanted, found)),
            }
        }
    }
}

fn filter(wanted: &Wanted) -> Markup {
    let number = |value: i64| match value {
        0 => String::new(),
        value => value.to_string(),
    };
    html! {
        form.look-filter method="get" action="#inside" role="search" aria-label="Filter messages" {
            input type="hidden" name="look" value="1";
            input type="search" name="look-text" value=(wanted.text) placeholder="Text or id" aria-label="Text in the message, or its id" maxlength="200";
            label { "Attempts ≥ " input type="number" name="look-attempts" min="0" value=(number(i64::from(wanted.least_attempts))); }
            label { "Age ≥ " input type="number" name="look-age" min="0" value=(number(wanted.least_age)); " min" }
            label { "Show " select name="look-count" {
                @for count in COUNTS { option value=(count) selected[count == wanted.count] { (count) } }
            } }
            label { select name="look-order" aria-label="Order" {
                option value="oldest" { "oldest first" }
                option value="newest" selected[wanted.newest_first] { "newest first" }
            } }
            button.button.tiny type="submit" data-test="reload-messages" { "Reload" }
            button.button.tiny.js-only type="button" data-tail aria-pressed="false"
                title="New messages appear at the top as they come. With more than 200 waiting on a node, the newest are not among them." { "Live" }
        }
    }
}

fn list(
    context: &PageContext<'_>,
    owner: Owner<'_>,
    wanted: &Wanted,
    found: &Found<Vec<Peek>>,
) -> Markup {
    let mut rows: Vec<Row<'_>> = found.value.iter().flat_map(rows).collect();
    let fetched = rows.len();
    let now = i64::try_from(context.now.as_nanosecond()).unwrap_or(i64::MAX);
    rows.retain(|row| wanted.takes(row, now));
    rows.sort_by_key(|row| row.message.timestamp);
    if wanted.newest_first {
        rows.reverse();
    }
    let matching = rows.len();
    rows.truncate(wanted.count);
    let total =
        |value: fn(&Peek) -> i64| found.value.iter().map(value).fold(0, i64::saturating_add);
    html! {
        (unable(found))
        p.panel-body.muted data-test="seen" {
            (messages(total(|peek| peek.queued_total))) " waiting, "
            (format::grouped_signed(total(|peek| peek.in_flight_total))) " in flight, "
            (format::grouped_signed(total(|peek| peek.deferred_total))) " deferred. "
            "Showing " (rows.len()) ", " (if wanted.newest_first { "newest" } else { "oldest" }) " first, of " (matching)
            @if matching < fetched { " that match among " (fetched) } " fetched."
        }
        p.panel-body.muted.tail-state hidden id="tail-state" role="status" {}
        div id="message-list" data-most=(wanted.count) data-order=(if wanted.newest_first { "newest" } else { "oldest" }) {
            @for row in &rows { (message(context, owner, row)) }
        }
        @if rows.is_empty() { div.empty { span { "No messages to show." } } }
    }
}

/// The nodes that cannot show theirs, and why.
fn unable(found: &Found<Vec<Peek>>) -> Markup {
    html! {
        @if !found.warnings.is_empty() {
            ul.panel-body.muted data-test="peek-unable" {
                @for failure in found.warnings.iter() {
                    li { (failure.address) ": "
                        @match failure.status {
                            Some(403) => "showing messages is switched off on this nsqd (--enable-peek=false)",
                            Some(404) => "this nsqd cannot show its messages (its version does not support it)",
                            _ => (failure.cause),
                        }
                    }
                }
            }
        }
    }
}

fn rows(peek: &Peek) -> impl Iterator<Item = Row<'_>> {
    let node = &*peek.node;
    let kinds = [
        ("waiting", &peek.queued),
        ("in flight", &peek.in_flight),
        ("deferred", &peek.deferred),
    ];
    kinds.into_iter().flat_map(move |(state, messages)| {
        messages.iter().map(move |message| Row {
            node,
            state,
            body: body::decode(&message.body),
            message,
        })
    })
}

fn message(context: &PageContext<'_>, owner: Owner<'_>, row: &Row<'_>) -> Markup {
    let message = row.message;
    html! {
        details.message data-key={ "m-" (row.node) "-" (message.id) } data-test="message" {
            summary.message-row {
                span.nowrap { @match widgets::at_nanos(message.timestamp) { Some(at) => (widgets::ago(context, at)), None => "–" } }
                span.nowrap.message-state { (row.state) }
                span.nowrap { (format::counted(u64::from(message.attempts), "attempt", "attempts")) }
                span.nowrap { (format::counted(message.body_size, "byte", "bytes")) }
                span.preview.mono { (body::preview(row.body.as_deref())) }
            }
            div.message-detail {
                div.message-head {
                    span.mono { (message.id) }
                    span { "on " (widgets::node(context, row.node, "")) }
                    @if let Some(client) = &message.client {
                        span { "held by " (client.hostname) " (" (client.client_id) ", " (client.remote_address) ")" }
                    }
                    @if let Some(at) = widgets::at_nanos(message.delivered_at) { span { "delivered " (widgets::ago(context, at)) } }
                    @if let Some(at) = widgets::at_nanos(message.due_at) {
                        span { @if message.client.is_some() { "times out " } @else { "due " } (widgets::ago(context, at)) }
                    }
                }
                (body::show(row.body.as_deref(), message.body_size, message.truncated))
                (tools(context, owner, row))
            }
        }
    }
}

/// Download, copy as curl, publish again.
fn tools(context: &PageContext<'_>, owner: Owner<'_>, row: &Row<'_>) -> Markup {
    let text = row
        .body
        .as_deref()
        .filter(|_| !row.message.truncated)
        .and_then(|body| std::str::from_utf8(body).ok())
        .filter(|text| !text.is_empty());
    let curl = text.map(|text| {
        format!(
            "curl --data-binary {} 'http://{}/pub?topic={}'",
            shell_quoted(text),
            row.node,
            segment(owner.topic)
        )
    });
    html! {
        div.actions {
            @if row.message.body_size <= u64::from(WHOLE_BODY_BYTES) { a.button.tiny href={ "?download=" (segment(&row.message.id)) "&node=" (segment(row.node)) } data-test="download" { "Download" } }
            @if let Some(curl) = &curl { (widgets::copy(curl, "Copy as curl")) }
            @if let Some(text) = text.filter(|_| context.may_act()) {
                details.again {
                    summary.button.tiny data-test="again" { "Publish again…" }
                    form.form method="post" action=(context.links.topic(owner.topic)) {
                        (form::token(context))
                        input type="hidden" name="action" value="publish";
                        input type="hidden" name="node" value=(row.node);
                        textarea.hidden name="body" { "\n" (text) }
                        p { "Publishes a copy to topic " strong { (owner.topic) } " on " (row.node) ". Every channel of the topic receives it." }
                        div.buttons { button.button.primary type="submit" { "Publish a copy" } }
                    }
                }
            }
        }
    }
}

/// As one word of a shell's command line.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// How many to show, as offered.
const COUNTS: [usize; 4] = [20, 50, 100, 200];
const LONGEST_TEXT: usize = 200;
const NANOS_PER_MINUTE: i64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_attempts_and_age_pick_messages() {
        let message = PeekedMessage {
            id: "0123".to_owned(),
            timestamp: 0,
            attempts: 3,
            ..PeekedMessage::default()
        };
        let row = Row {
            node: "n:1",
            state: "waiting",
            message: &message,
            body: Some(b"Hello <World>".to_vec()),
        };
        let now = 5 * NANOS_PER_MINUTE;
        let wanted = Wanted::default();
        assert!(wanted.takes(&row, now));
        for (text, found) in [("world", true), ("0123", true), ("moon", false)] {
            let text = text.to_owned();
            let wanted = Wanted {
                text,
                ..Wanted::default()
            };
            assert_eq!(wanted.takes(&row, now), found, "{wanted:?}");
        }
        for (least_attempts, least_age, found) in [(3, 5, true), (4, 0, false), (0, 6, false)] {
            let wanted = Wanted {
                least_attempts,
                least_age,
                ..Wanted::default()
            };
            assert_eq!(wanted.takes(&row, now), found, "{wanted:?}");
        }
    }

    #[test]
    fn a_body_is_one_word_for_a_shell() {
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
