//! How much goes through: made to be left open on a wall.

use maud::html;

use crate::cluster::Overview;
use crate::history::Key;
use crate::watch::Counted;

use super::context::PageContext;
use super::format;
use super::layout::{Page, Section};
use super::state::Trend;
use super::topic::SINCE_START;
use super::widgets::{self, Stat};

pub(crate) fn page(context: &PageContext<'_>, overview: &Overview) -> Page {
    let trend = Trend::of(&context.nsqadmin.history, &Key::Cluster);
    let channels = || overview.topics.iter().flat_map(|topic| &topic.channels);
    let Counted {
        published,
        received,
    } = context.nsqadmin.watch.counted();
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
            span.muted title=(SINCE_START) { (format::grouped_signed(received)) " messages received by channels since the nodes started" }
        }
        (widgets::strip(&[
            Stat::count("processed", "Received by channels", received).help(SINCE_START).more(html! { "since the nodes started" }),
            Stat::count("published", "Published", published).help(SINCE_START).more(html! { "since the nodes started" }),
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
