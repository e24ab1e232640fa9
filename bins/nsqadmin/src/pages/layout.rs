//! The frame around every page: bar, navigation, notices, foot.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use nsq_daemon::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use nsq_daemon::http::{Reply, StatusCode};
use nsq_daemon::version;

use crate::snapshot::{Currency, Snapshot};

use super::assets::{ICON, SCRIPT, STYLE};
use super::context::{PageContext, Part, Theme};
use super::format;
use super::notice::{Notice, Tone};
use super::state::{Mark, Severity};

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
    /// The result of the last action on this page.
    pub(crate) notices: Vec<Notice>,
    /// The path of the same data as JSON.
    pub(crate) api: Option<String>,
    pub(crate) is_live: bool,
    /// How current it is.
    pub(crate) currency: Currency,
    /// When its data was taken, if not just now.
    pub(crate) as_of: Option<Timestamp>,
    /// Without navigation: before the login.
    pub(crate) is_bare: bool,
}

/// Which entry of the navigation is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Topics,
    Nodes,
    Clients,
    Lookup,
    Counter,
    Cluster,
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
            currency: Currency::Live,
            as_of: None,
            is_bare: false,
        }
    }

    /// Of the data of `snapshot`. What is not current says so.
    pub(crate) fn of_snapshot(mut self, context: &PageContext<'_>, snapshot: &Snapshot) -> Self {
        self.currency = snapshot.currency;
        if snapshot.currency == Currency::LastKnown {
            let at = snapshot.overview.taken_at;
            self.as_of = Some(at);
            let headline = format!(
                "The daemons take too long to respond. This is the last known state, of {}.",
                at.to_zoned(context.zone.clone()).strftime("%H:%M:%S")
            );
            self.warnings.insert(0, Notice::new(Tone::Warn, headline));
        }
        self
    }
}

/// The page as an answer: whole, or what is inside of the frame for the script.
pub(crate) fn reply(context: &PageContext<'_>, page: &Page) -> Reply {
    let markup = match context.part {
        Part::Whole => whole(context, page),
        Part::Main => html! { title { (full_title(context, page)) } (main(context, page)) },
    };
    Reply::plain(page.status, markup.into_string())
        .with_header(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        )
        // Numbers of this second, and a token of this viewer.
        .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn whole(context: &PageContext<'_>, page: &Page) -> Markup {
    let theme = match context.theme {
        Theme::Auto => None,
        Theme::Light => Some("light"),
        Theme::Dark => Some("dark"),
    };
    let asset = |name: &str| context.links.fixed(&format!("/static/{name}"));
    let earlier = context
        .query
        .first("notice")
        .and_then(|number| context.nsqadmin.notices.find(number));
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="same-origin";
                title { (full_title(context, page)) }
                link rel="icon" type="image/svg+xml" href=(asset(&ICON.name));
                link rel="stylesheet" href=(asset(&STYLE.name));
                script type="module" src=(asset(&SCRIPT.name)) {}
            }
            body data-root=(context.links.root()) data-refresh="5" {
                a.skip href="#main" { "Skip to content" }
                (bar(context, page))
                (main(context, page))
                // Outside of main: an update must not remove a notice that has not been read.
                div.notices.floating id="notices" role="status" aria-live="polite" {
                    @for notice in page.notices.iter().chain(&earlier) { (notice.render(true)) }
                }
                (foot(context, page))
                dialog id="dialog" data-test="dialog" {}
                dialog id="jump" aria-label="Jump to" data-link=(context.links.fixed("/jump")) {
                    div.jump {
                        input type="search" id="jump-field" placeholder="Topic, channel, consumer or node" aria-label="Topic, channel, consumer or node" autocomplete="off" spellcheck="false";
                        div id="jump-found" {}
                    }
                }
                (keys())
            }
        }
    }
}

/// The title, with the number of critical channels in front of it.
fn full_title(context: &PageContext<'_>, page: &Page) -> String {
    match context.nsqadmin.watch.counts().critical {
        0 => format!("{} · nsqadmin", page.title),
        critical => format!("({critical}) {} · nsqadmin", page.title),
    }
}

fn main(context: &PageContext<'_>, page: &Page) -> Markup {
    let taken = page
        .as_of
        .unwrap_or(context.now)
        .to_zoned(context.zone.clone())
        .strftime("%H:%M:%S %Z")
        .to_string();
    html! {
        main id="main" tabindex="-1" data-taken=(taken) data-currency=(currency(page)) data-critical=(context.nsqadmin.watch.counts().critical) data-live[page.is_live] data-status=(page.status.as_u16()) {
            @if page.crumbs.len() > 1 {
                nav.crumbs aria-label="Breadcrumb" {
                    ol { @for (name, link) in &page.crumbs { li {
                        @match link {
                            Some(link) => a href=(link) { (name) },
                            None => span aria-current="page" { (name) },
                        }
                    } } }
                }
            }
            @if !page.warnings.is_empty() {
                section.notices aria-label="Missing data" id="warnings" {
                    @for notice in &page.warnings { (notice.render(false)) }
                }
            }
            (page.body)
        }
    }
}

/// How current the page is, for the script.
fn currency(page: &Page) -> &'static str {
    match page.currency {
        Currency::Live if page.warnings.is_empty() => "live",
        Currency::Live | Currency::Partial => "partial",
        Currency::LastKnown => "last-known",
    }
}

fn bar(context: &PageContext<'_>, page: &Page) -> Markup {
    let links = &context.links;
    let cluster = context.nsqadmin.replication.latest();
    let mut entries = vec![
        (Section::Topics, "topics", "Topics", links.topics()),
        (Section::Nodes, "nodes", "Nodes", links.nodes()),
        (
            Section::Clients,
            "consumers",
            "Clients",
            links.fixed("/consumers"),
        ),
        (Section::Lookup, "lookup", "Lookup", links.fixed("/lookup")),
        (
            Section::Counter,
            "counter",
            "Counter",
            links.fixed("/counter"),
        ),
    ];
    if cluster.is_some() {
        let link = links.fixed("/cluster");
        entries.insert(2, (Section::Cluster, "cluster", "Cluster", link));
    }
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
                @if let Some(cluster) = cluster.filter(|_| !page.is_bare) {
                    @let mark = super::replication::mark(&cluster);
                    a.cluster-state.(cluster_class(&mark)) href=(links.fixed("/cluster")) title=(mark.why) data-test="cluster-state" data-state=(mark.id) {
                        "Cluster " (mark.word)
                    }
                }
                @if page.is_live {
                    button.bar-button.live.js-only id="live" type="button" aria-pressed="false"
                        title="The page refreshes automatically. Click to pause (p)" {
                        span.live-dot aria-hidden="true" {} span.live-text { "Live" }
                    }
                }
                a.bar-button id="jump-button" href=(links.fixed("/jump")) title="Jump to a topic, channel, consumer or node (Ctrl-K)" { "Jump" kbd.js-only { "Ctrl K" } }
                button.bar-button.js-only id="theme" type="button" title="Light or dark theme" {
                    span aria-hidden="true" { "◐" } span.theme-text { "Auto" }
                }
                button.bar-button.js-only id="keys-button" type="button" title="Keys (?)" aria-label="Keyboard shortcuts" { "?" }
                @if let Some(user) = &context.viewer.user {
                    span.user title=(if context.viewer.is_admin { "Administrator" } else { "Read only: may not change anything" }) {
                        (user) @if !context.viewer.is_admin { " (read only)" }
                    }
                } @else if !context.viewer.is_admin && !page.is_bare {
                    span.user title="Only administrators may change anything" { "Read only" }
                }
                @if context.viewer.can_log_out {
                    form method="post" action=(links.fixed("/logout")) {
                        (super::form::token(context))
                        button.bar-button type="submit" { "Log out" }
                    }
                }
            }
        } }
    }
}

fn cluster_class(mark: &Mark) -> &'static str {
    match mark.severity {
        Severity::Bad => "bad",
        Severity::Warn => "warn",
        Severity::Info | Severity::Fine | Severity::Idle => "good",
    }
}

fn foot(context: &PageContext<'_>, page: &Page) -> Markup {
    html! {
        footer.foot {
            span { "nsqadmin " (version::VERSION) }
            span { "Times are in " (context.now.to_zoned(context.zone.clone()).strftime("%Z (UTC%:z)").to_string()) }
            span title="When this page was generated" { time datetime=(context.now) { (format::moment(context.now, &context.zone)) } }
            @if let Some(api) = &page.api { a.push href=(context.links.fixed(api)) data-test="json" { "This page as JSON" } }
        }
    }
}

fn keys() -> Markup {
    let keys = [
        ("Ctrl-K", "jump to a topic, channel, consumer or node"),
        ("/", "search"),
        ("j, k", "next, previous row (Enter opens it)"),
        (
            "g then t, n, u, l, c",
            "topics, nodes, consumers, lookup, counter",
        ),
        ("p", "pause or resume updates"),
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
