//! The frame around every page: bar, navigation, notices, foot.

use maud::{DOCTYPE, Markup, html};
use nsq_daemon::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use nsq_daemon::http::{Reply, StatusCode};
use nsq_daemon::version;

use super::assets::{ICON, SCRIPT, STYLE};
use super::figures;
use super::notice::Notice;
use super::visit::{Part, Theme, Visit};

/// A page's content, to be framed.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// Without the program's name.
    pub(crate) title: String,
    pub(crate) section: Section,
    /// Names and links of what this page is part of, and at last itself.
    pub(crate) crumbs: Vec<(String, Option<String>)>,
    pub(crate) body: Markup,
    /// What the data lacks.
    pub(crate) warnings: Vec<Notice>,
    /// What an action on this page has just come to.
    pub(crate) notices: Vec<Notice>,
    /// The path of the same data as JSON.
    pub(crate) api: Option<String>,
    pub(crate) is_live: bool,
    /// Without navigation: nobody has logged in yet.
    pub(crate) is_bare: bool,
}

/// Which entry of the navigation is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Topics,
    Nodes,
    Lookup,
    Counter,
    None,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>, section: Section, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            section,
            crumbs: Vec::new(),
            body,
            warnings: Vec::new(),
            notices: Vec::new(),
            api: None,
            is_live: true,
            is_bare: false,
        }
    }
}

/// The page as an answer: whole, or what is inside of the frame for the script.
pub(crate) fn reply(visit: &Visit<'_>, page: &Page) -> Reply {
    let markup = match visit.part {
        Part::Whole => whole(visit, page),
        Part::Main => html! { title { (full_title(page)) } (main(visit, page)) },
    };
    Reply::plain(page.status, markup.into_string())
        .with_header(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        )
        // Numbers of this second, and a token of this visitor.
        .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn whole(visit: &Visit<'_>, page: &Page) -> Markup {
    let theme = match visit.theme {
        Theme::Auto => None,
        Theme::Light => Some("light"),
        Theme::Dark => Some("dark"),
    };
    let asset = |name: &str| visit.links.fixed(&format!("/static/{name}"));
    let earlier = visit
        .query
        .first("notice")
        .and_then(|number| visit.nsqadmin.notices.find(number));
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="same-origin";
                title { (full_title(page)) }
                link rel="icon" type="image/svg+xml" href=(asset(&ICON.name));
                link rel="stylesheet" href=(asset(&STYLE.name));
                script type="module" src=(asset(&SCRIPT.name)) {}
            }
            body data-root=(visit.links.root()) data-refresh="5" {
                a.skip href="#main" { "Skip to content" }
                (bar(visit, page))
                (main(visit, page))
                // Outside of main: an update must not take away what somebody has not read yet.
                div.notices.floating id="notices" role="status" aria-live="polite" {
                    @for notice in page.notices.iter().chain(&earlier) { (notice.render(true)) }
                }
                (foot(visit, page))
                dialog id="dialog" data-test="dialog" {}
                (keys())
            }
        }
    }
}

fn full_title(page: &Page) -> String {
    format!("{} · nsqadmin", page.title)
}

fn main(visit: &Visit<'_>, page: &Page) -> Markup {
    let taken = visit
        .now
        .to_zoned(visit.zone.clone())
        .strftime("%H:%M:%S %Z")
        .to_string();
    html! {
        main id="main" tabindex="-1" data-taken=(taken) data-live[page.is_live] data-status=(page.status.as_u16()) {
            @if page.crumbs.len() > 1 {
                nav.crumbs aria-label="Where this is" {
                    ol { @for (name, link) in &page.crumbs { li {
                        @match link {
                            Some(link) => a href=(link) { (name) },
                            None => span aria-current="page" { (name) },
                        }
                    } } }
                }
            }
            @if !page.warnings.is_empty() {
                section.notices aria-label="What could not be found out" id="warnings" {
                    @for notice in &page.warnings { (notice.render(false)) }
                }
            }
            (page.body)
        }
    }
}

fn bar(visit: &Visit<'_>, page: &Page) -> Markup {
    let links = &visit.links;
    let entries = [
        (Section::Topics, "topics", "Topics", links.topics()),
        (Section::Nodes, "nodes", "Nodes", links.nodes()),
        (Section::Lookup, "lookup", "Lookup", links.fixed("/lookup")),
        (
            Section::Counter,
            "counter",
            "Counter",
            links.fixed("/counter"),
        ),
    ];
    html! {
        header.bar { div.bar-in {
            a.brand href=(links.topics()) {
                svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true" {
                    rect class="logo-ground" width="32" height="32" rx="7" {}
                    g class="logo-lines" { path d="M6 9h9" {} path d="M6 16h13" {} path d="M6 23h9" {} }
                    path class="logo-arrow" d="M19.5 9.5 26 16l-6.5 6.5" {}
                }
                "NSQ"
            }
            @if !page.is_bare { nav aria-label="Main" { ul {
                @for (section, id, label, link) in entries {
                    li { a href=(link) data-go-to=(id) aria-current=[(section == page.section).then_some("page")] { (label) } }
                }
            } } }
            div.bar-side {
                @if page.is_live {
                    button.bar-button.live.js-only id="live" type="button" aria-pressed="false"
                        title="The page updates itself. Click to pause (p)" {
                        span.live-dot aria-hidden="true" {} span.live-text { "Live" }
                    }
                }
                button.bar-button.js-only id="theme" type="button" title="Light or dark" {
                    span aria-hidden="true" { "◐" } span.theme-text { "Auto" }
                }
                button.bar-button.js-only id="keys-button" type="button" title="Keys (?)" aria-label="Keyboard shortcuts" { "?" }
                @if let Some(user) = &visit.visitor.user {
                    span.user title=(if visit.visitor.is_admin { "Administrator" } else { "May look, not act" }) {
                        (user) @if !visit.visitor.is_admin { " (read only)" }
                    }
                } @else if !visit.visitor.is_admin && !page.is_bare {
                    span.user title="Only administrators may act" { "Read only" }
                }
                @if visit.visitor.can_log_out {
                    form method="post" action=(links.fixed("/logout")) {
                        (super::form::token(visit))
                        button.bar-button type="submit" { "Log out" }
                    }
                }
            }
        } }
    }
}

fn foot(visit: &Visit<'_>, page: &Page) -> Markup {
    html! {
        footer.foot {
            span { "nsqadmin " (version::VERSION) }
            span { "Times are in " (visit.now.to_zoned(visit.zone.clone()).strftime("%Z (UTC%:z)").to_string()) }
            span title="When this page was made" { time datetime=(visit.now) { (figures::moment(visit.now, &visit.zone)) } }
            @if let Some(api) = &page.api { a.push href=(visit.links.fixed(api)) data-test="json" { "This page as JSON" } }
        }
    }
}

fn keys() -> Markup {
    let keys = [
        ("/", "search"),
        ("j, k", "next, previous row (Enter opens it)"),
        ("g then t, n, l, c", "topics, nodes, lookup, counter"),
        ("p", "pause or go on with updates"),
        ("r", "update now"),
        ("Esc", "close"),
        ("?", "this help"),
    ];
    html! {
        dialog id="keys" aria-labelledby="keys-title" {
            div.confirm {
                h2 id="keys-title" { "Keys" }
                dl.keys { @for (key, what) in keys { dt { kbd { (key) } } dd { (what) } } }
                div.buttons { button.button type="button" data-cancel { "Close" } }
            }
        }
    }
}
