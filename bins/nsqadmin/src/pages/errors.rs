//! The pages for errors: something does not exist, or no daemon answers.

use maud::html;
use nsq_daemon::http::{HeaderMap, Reply, StatusCode};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::cluster::ClusterError;

use super::context::PageContext;
use super::layout::{self, Page, Section};
use super::notice::{Notice, Tone};

/// The page for an error of the cluster's.
pub(crate) fn page(context: &PageContext<'_>, section: Section, error: &ClusterError) -> Page {
    match error {
        ClusterError::Unanswered { kind, failures } => {
            let body = html! {
                header.page-head { div.titles { h1 { "Not responding" } } }
                section.panel { div.empty data-test="unanswered" {
                    strong { "No " (kind) " is responding" }
                    @if failures.is_empty() {
                        span { "None is configured. Check --lookupd-http-address and --nsqd-http-address." }
                    } @else {
                        span { "Are they running, and can nsqadmin reach them? This page retries automatically." }
                    }
                } }
            };
            let lines = failures
                .iter()
                .map(|failure| format!("{} {}: {}", failure.kind, failure.address, failure.cause));
            let mut page = Page::new("Not responding", section, body);
            if !failures.is_empty() {
                let headline = format!("None of {} responded.", failures.len());
                page.warnings
                    .push(Notice::new(Tone::Bad, headline).with_lines(lines));
            }
            page.status = StatusCode::BAD_GATEWAY;
            page
        }
        ClusterError::NoSuchTopic => missing(
            context,
            section,
            "This topic does not exist",
            "It may have been deleted, or the name is misspelled.",
        ),
        ClusterError::NoSuchChannel => missing(
            context,
            section,
            "This channel does not exist",
            "It may have been deleted, or the name is misspelled.",
        ),
        ClusterError::NoSuchNode => missing(
            context,
            section,
            "This node does not exist",
            "No nsqd with this address is known: it has gone, or was never registered.",
        ),
    }
}

/// The page for an address that is none of ours.
pub(crate) fn unknown(nsqadmin: &Nsqadmin, headers: &HeaderMap) -> Reply {
    let context = PageContext::new(nsqadmin, Viewer::default(), headers, "");
    let body = html! {
        header.page-head { div.titles { h1 { "Page not found" } } }
        section.panel { div.empty data-test="unknown-page" {
            span { "nsqadmin has no page at this address." }
            a.button href=(context.links.topics()) { "All topics" }
            a.button href=(context.links.nodes()) { "All nodes" }
        } }
    };
    let mut page = Page::new("Page not found", Section::None, body);
    page.status = StatusCode::NOT_FOUND;
    page.is_live = false;
    page.is_bare = true;
    layout::reply(&context, &page)
}

fn missing(context: &PageContext<'_>, section: Section, headline: &str, why: &str) -> Page {
    let body = html! {
        header.page-head { div.titles { h1 { (headline) } } }
        section.panel { div.empty data-test="missing" {
            span { (why) }
            a.button href=(context.links.topics()) { "All topics" }
            a.button href=(context.links.nodes()) { "All nodes" }
        } }
    };
    let mut page = Page::new(headline, section, body);
    page.status = StatusCode::NOT_FOUND;
    page
}
