//! How much goes through: made to be left open on a wall.

use maud::html;

use crate::cluster::Overview;
use crate::history::{Key, Metric};

use super::figures::{self, Unit};
use super::layout::{Page, Section};
use super::state::Course;
use super::visit::Visit;
use super::widgets::{self, Figure};

pub(crate) fn page(visit: &Visit<'_>, overview: &Overview) -> Page {
    let course = Course::of(&visit.nsqadmin.history, &Key::Cluster);
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
    let rate = course
        .messages
        .map_or_else(|| "–".to_owned(), figures::whole);
    let body = html! {
        h1.visually-hidden { "Counter" }
        section.panel.centre aria-label="Messages a second" {
            span.muted { "Messages published a second" }
            p.big-number data-test="rate" { (rate) }
            span.muted { (figures::grouped_signed(delivered)) " messages put into channels since the nodes started" }
        }
        (widgets::strip(&[
            Figure::count("processed", "Messages processed", delivered).more(html! { "put into channels" }),
            Figure::count("published", "Messages published", published),
            Figure::rate("done", "Finished", course.finishes),
            Figure::rate("requeues", "Requeued", course.requeues),
            Figure::rate("timeouts", "Timed out", course.timeouts),
            Figure::count("in-flight", "In flight", sum(|channel| channel.in_flight_count)),
        ]))
        section.charts aria-labelledby="charts-title" {
            div.title-line { h2 id="charts-title" { "Course" } (widgets::span_choice(visit)) }
            (widgets::chart(visit, "rates", "Messages a second", Unit::PerSecond, &[
                ("published", &Key::Cluster, Metric::Messages),
                ("finished", &Key::Cluster, Metric::Finishes),
                ("requeued", &Key::Cluster, Metric::Requeues),
                ("timed out", &Key::Cluster, Metric::Timeouts),
            ]))
            div.grid-2 {
                (widgets::chart(visit, "waiting", "Messages", Unit::Count, &[
                    ("waiting", &Key::Cluster, Metric::Depth),
                    ("in flight", &Key::Cluster, Metric::InFlight),
                    ("deferred", &Key::Cluster, Metric::Deferred),
                ]))
                (widgets::chart(visit, "clients", "Consumers", Unit::Count, &[("consumers", &Key::Cluster, Metric::Clients)]))
            }
        }
    };
    let mut page = Page::new(format!("{rate}/s"), Section::Counter, body);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some("/api/counter".to_owned());
    page
}
