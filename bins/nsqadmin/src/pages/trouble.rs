//! Pages for what is not there, and for when nobody answers.

use maud::html;
use nsq_daemon::http::StatusCode;

use crate::cluster::ClusterError;

use super::layout::{Page, Section};
use super::notice::{Notice, Tone};
use super::visit::Visit;

/// The page for an error of the cluster's.
pub(crate) fn page(visit: &Visit<'_>, section: Section, error: &ClusterError) -> Page {
    match error {
        ClusterError::Unanswered { kind, failures } => {
            let body = html! {
                header.page-head { div.titles { h1 { "Nobody answers" } } }
                section.panel { div.empty data-test="unanswered" {
                    strong { "No " (kind) " could be asked" }
                    @if failures.is_empty() {
                        span { "None is known. Check --lookupd-http-address and --nsqd-http-address." }
                    } @else {
                        span { "Are they running, and can nsqadmin reach them? This page tries again by itself." }
                    }
                } }
            };
            let lines = failures
                .iter()
                .map(|failure| format!("{} {}: {}", failure.kind, failure.address, failure.cause));
            let mut page = Page::new("Nobody answers", section, body);
            if !failures.is_empty() {
                let headline = format!("None of {} answered.", failures.len());
                page.warnings
                    .push(Notice::new(Tone::Bad, headline).with_lines(lines));
            }
            page.status = StatusCode::BAD_GATEWAY;
            page
        }
        ClusterError::NoSuchTopic => missing(
            visit,
            section,
            "There is no such topic",
            "It may have been deleted, or it is spelled differently.",
        ),
        ClusterError::NoSuchChannel => missing(
            visit,
            section,
            "There is no such channel",
            "It may have been deleted, or it is spelled differently.",
        ),
        ClusterError::NoSuchNode => missing(
            visit,
            section,
            "There is no such node",
            "Nobody knows an nsqd of this address: it has gone, or has never registered.",
        ),
    }
}

fn missing(visit: &Visit<'_>, section: Section, headline: &str, why: &str) -> Page {
    let body = html! {
        header.page-head { div.titles { h1 { (headline) } } }
        section.panel { div.empty data-test="missing" {
            span { (why) }
            a.button href=(visit.links.topics()) { "All topics" }
            a.button href=(visit.links.nodes()) { "All nodes" }
        } }
    };
    let mut page = Page::new(headline, section, body);
    page.status = StatusCode::NOT_FOUND;
    page
}
