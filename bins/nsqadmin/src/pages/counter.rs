//! How much goes through: made to be left open on a wall.

use maud::html;

use crate::cluster::Overview;
use crate::history::Key;

use super::context::PageContext;
use super::format;
use super::layout::{Page, Section};
use super::state::Trend;
use super::widgets::{self, Stat};

pub(crate) fn page(context: &PageContext<'_>, overview: &Overview) -> Page {
    let trend = Trend::of(&context.nsqadmin.history, &Key::Cluster);
    let channels = || overview.topics.iter().flat_map(|topic| &topic.channels);
    let delivered = channels()
        .map(|channel| channel.message_count)
        .fold(0, i64::saturating_add);
    let published = overview
        .topics
        .iter()
        .map(|topic| topic.message_count)
        .fold(0, i64::saturating_add);
    let sum = |value: fn(&crate::cluster::Channel) -> i64| {
        channels()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add)
    };
    let rate = trend.messages.map_or_else(|| "–".to_owned(), format::whole);
    let body = html! {
        h1.visually-hidden { "Counter" }
        section.panel.centre aria-label="Message rate" {
            span.muted { "Messages published per second" }
            p.big-number data-test="rate" { (rate) }
            span.muted { (format::grouped_signed(delivered)) " messages received by channels since the nodes started" }
        }
        (widgets::strip(&[
            Stat::count("processed", "Messages processed", delivered).more(html! { "received by channels" }),
            Stat::count("published", "Messages published", published),
            Stat::rate("done", "Finished", trend.finishes),
            Stat::rate("requeues", "Requeued", trend.requeues),
            Stat::rate("timeouts", "Timed out", trend.timeouts),
            Stat::count("in-flight", "In flight", sum(|channel| channel.in_flight_count)),
        ]))
        (widgets::charts(context, &html! {
            (widgets::rates_chart(context, &Key::Cluster, "published"))
            div.grid-2 {
                (widgets::messages_chart(context, &Key::Cluster, &[]))
                (widgets::consumers_chart(context, &Key::Cluster))
            }
        }))
    };
    let mut page = Page::new(format!("{rate}/s"), Section::Counter, body);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some("/api/counter".to_owned());
    page
}
