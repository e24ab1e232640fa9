//! The cluster's page: nodes and shards, leaders, lag and transfers, what is under-replicated first; and what
//! administrators do to its nodes.

use maud::{Markup, html};

use crate::cluster::{ClusterReport, Member, MemberAction, Replica, Shard};

use super::context::PageContext;
use super::form;
use super::format;
use super::layout::{Page, Section};
use super::notice::Tone;
use super::state::{self, Mark, Severity};
use super::widgets::{self, Stat};

pub(crate) fn page(context: &PageContext<'_>, report: &ClusterReport) -> Page {
    let body = html! {
        header.page-head {
            div.titles { h1 { "Cluster" } div { (state::badges(&[mark(report)])) } }
        }
        @if !report.problems.is_empty() {
            ul.diagnosis.(class(report)) data-test="problems" { @for problem in &report.problems { li { (problem) } } }
        }
        (summary(report))
        (shards_panel(context, report))
        (members_panel(context, report))
    };
    Page::new("Cluster", Section::Cluster, body)
}

/// Without a cluster.
pub(crate) fn none(context: &PageContext<'_>) -> Page {
    let body = html! {
        header.page-head { div.titles { h1 { "Cluster" } } }
        section.panel { div.empty data-test="no-cluster" {
            strong { "The nodes do not form a cluster" }
            span { "Each nsqd keeps its own messages. nsqds that are started with --cluster-peer replicate them." }
            a.button href=(context.links.nodes()) { "All nodes" }
        } }
    };
    let mut page = Page::new("Cluster", Section::Nodes, body);
    page.status = nsq_daemon::http::StatusCode::NOT_FOUND;
    page
}

/// The state of the cluster as a mark.
pub(crate) fn mark(report: &ClusterReport) -> Mark {
    let (id, severity, word) = match report.state.as_str() {
        "ok" if report.problems.is_empty() => ("cluster-ok", Severity::Fine, "healthy"),
        "ok" => ("cluster-problems", Severity::Warn, "has problems"),
        "under-replicated" => (
            "cluster-under-replicated",
            Severity::Warn,
            "under-replicated",
        ),
        "forming" => ("cluster-forming", Severity::Warn, "forming"),
        "no majority" => ("cluster-no-majority", Severity::Bad, "no majority"),
        _ => ("cluster-unknown", Severity::Bad, "unknown state"),
    };
    let why = match report.problems.as_slice() {
        [] => "Every shard has a leader and all its replicas.".to_owned(),
        problems => problems.join("\n"),
    };
    Mark::new(id, severity, word, why)
}

fn class(report: &ClusterReport) -> &'static str {
    match mark(report).severity {
        Severity::Bad => "bad",
        Severity::Warn => "warn",
        _ => "info",
    }
}

fn summary(report: &ClusterReport) -> Markup {
    let alive = report
        .members
        .iter()
        .filter(|member| member.is_alive)
        .count();
    let troubled = report.shards_in_trouble();
    let replicas = || report.shards.iter().flat_map(|shard| &shard.replicas);
    let catching_up = replicas().filter(|replica| replica.is_catching_up).count();
    let lag = replicas().filter_map(|replica| replica.lag_entries).max();
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    widgets::strip(&[
        Stat::new(
            "members",
            "Nodes alive",
            html! { (alive) span.unit { "of " (report.members.len()) } },
        )
        .tone((alive < report.members.len()).then_some(Tone::Bad)),
        Stat::count("shards", "Shards", count(report.shards.len())),
        Stat::count("troubled", "Under-replicated", count(troubled))
            .tone((troubled > 0).then_some(Tone::Warn)),
        Stat::count("transfers", "Replicas catching up", count(catching_up)),
        Stat::new(
            "lag",
            "Largest lag",
            html! { @match lag {
                Some(entries) => { (format::grouped(entries)) span.unit { "entries" } }
                None => "–",
            } },
        ),
    ])
}

/// Shards in rows, nodes in columns.
fn shards_panel(context: &PageContext<'_>, report: &ClusterReport) -> Markup {
    let mut shards: Vec<&Shard> = report.shards.iter().collect();
    shards.sort_by_key(|shard| (!shard.is_in_trouble(), shard.shard));
    html! {
        section.panel aria-labelledby="shards-title" {
            div.panel-head { h2 id="shards-title" { "Shards" span.count { (shards.len()) } }
                span.muted { "Under-replicated first. A shard holds the messages that its owner accepted." } }
            div.scroll tabindex="0" role="region" aria-label="Replicas of each shard on each node" {
                table id="shards" {
                    caption.visually-hidden { "Replicas of each shard on each node" }
                    thead { tr {
                        th scope="col" { "Shard" } th scope="col" { "State" } th scope="col" { "Owner" }
                        @for member in &report.members {
                            th scope="col" title=(member.address) { "Node " (member.id) @if !member.is_alive { " (down)" } }
                        }
                    } }
                    tbody { @for shard in shards {
                        tr data-key={ "shard-" (shard.shard) } {
                            th scope="row" { (shard.shard) }
                            td.state { (state::badges(&shard_marks(shard))) }
                            td { (owner(context, report, shard)) }
                            @for member in &report.members { td { (cell(shard, member)) } }
                        }
                    } }
                }
            }
        }
    }
}

fn shard_marks(shard: &Shard) -> Vec<Mark> {
    let mut marks = Vec::new();
    if shard.leader.is_none() {
        let why = "No replica reaches a majority: the shard accepts and delivers no messages.";
        marks.push(Mark::new("no-leader", Severity::Bad, "no leader", why));
    }
    if shard.is_under_replicated {
        let why = "It has fewer sound replicas than --replicas.";
        marks.push(Mark::new(
            "under-replicated",
            Severity::Warn,
            "under-replicated",
            why,
        ));
    }
    marks
}

fn owner(context: &PageContext<'_>, report: &ClusterReport, shard: &Shard) -> Markup {
    html! {
        @match shard.owner {
            None => span.muted { "removed" },
            Some(id) => @match report.member(id) {
                Some(member) => (widgets::node(context, &member.http_address(), "")),
                None => { "node " (id) }
            },
        }
    }
}

/// What a node has of a shard.
fn cell(shard: &Shard, member: &Member) -> Markup {
    let replica = shard
        .replicas
        .iter()
        .find(|replica| replica.node == member.id);
    html! {
        @match replica {
            None => span.muted { "–" },
            Some(replica) => {
                (state::badges(&[replica_mark(replica)]))
                @if let Some(lag) = replica.lag_entries.filter(|lag| *lag > 0) {
                    div.small.muted {
                        (format::counted(lag, "entry", "entries")) " behind"
                        @if let Some(bytes) = replica.lag_bytes.filter(|bytes| *bytes > 0) { ", about " (format::bytes(lossy(bytes))) }
                    }
                }
            }
        }
    }
}

fn replica_mark(replica: &Replica) -> Mark {
    let (id, severity, word, why) = match replica.role.as_str() {
        _ if !replica.is_alive => ("down", Severity::Bad, "down", "Its node does not answer."),
        _ if replica.is_catching_up => (
            "catching-up",
            Severity::Warn,
            "catching up",
            "It is receiving the entries that it does not have yet.",
        ),
        "leader" => (
            "leader",
            Severity::Fine,
            "leader",
            "It accepts and delivers the messages.",
        ),
        "voter" => (
            "voter",
            Severity::Idle,
            "replica",
            "It has a copy and votes.",
        ),
        "learner" => (
            "learner",
            Severity::Info,
            "learner",
            "It receives the shard and does not vote yet.",
        ),
        _ => (
            "planned",
            Severity::Info,
            "planned",
            "It will receive a copy.",
        ),
    };
    Mark::new(id, severity, word, why)
}

fn members_panel(context: &PageContext<'_>, report: &ClusterReport) -> Markup {
    let leads = |id: u64| {
        report
            .shards
            .iter()
            .filter(|shard| shard.leader == Some(id))
            .count()
    };
    html! {
        section.panel aria-labelledby="members-title" {
            div.panel-head { h2 id="members-title" { "Nodes" span.count { (report.members.len()) } } }
            div.scroll tabindex="0" role="region" aria-label="Nodes of the cluster" {
                table id="members" {
                    caption.visually-hidden { "Nodes of the cluster" }
                    thead { tr {
                        th scope="col" { "Node" } th scope="col" { "State" } th scope="col" { "Cluster address" }
                        th.number scope="col" { "Leads shards" } th scope="col" { "Version" }
                        @if context.may_act() { th scope="col" data-column="act" { "Actions" } }
                    } }
                    tbody { @for member in &report.members {
                        tr data-key={ "member-" (member.id) } {
                            th scope="row" { (member.id) " " (widgets::node(context, &member.http_address(), "")) }
                            td.state { (state::badges(&member_marks(report, member))) }
                            td { (member.address) }
                            td.number { (leads(member.id)) }
                            td { (member.version) }
                            @if context.may_act() { td.act { (member_actions(context, member)) } }
                        }
                    } }
                }
            }
        }
    }
}

fn member_marks(report: &ClusterReport, member: &Member) -> Vec<Mark> {
    let mut marks = Vec::new();
    if !member.is_alive {
        let why = match member.seconds_since_heard {
            Some(seconds) => format!("It has not answered for {}.", format::span(seconds)),
            None => "It has not answered since the reporting node started.".to_owned(),
        };
        marks.push(Mark::new("down", Severity::Bad, "not responding", why));
    }
    if member.is_stepping_down {
        let why = "It gives its leaderships away and takes none until it is resumed.";
        marks.push(Mark::new(
            "stepped-down",
            Severity::Warn,
            "stepped down",
            why,
        ));
    }
    if report.directory.leader == Some(member.id) {
        let why = "It leads the table of members, topics and placements.";
        marks.push(Mark::new(
            "directory",
            Severity::Info,
            "directory leader",
            why,
        ));
    }
    marks
}

fn member_actions(context: &PageContext<'_>, member: &Member) -> Markup {
    let link = |action: MemberAction| {
        let id = member.id.to_string();
        format!(
            "{}{}",
            context.links.fixed("/cluster"),
            widgets::action(action.name(), &[("node", &id)])
        )
    };
    html! {
        span.actions {
            @if member.is_alive {
                @if member.is_stepping_down {
                    (form::asks(&link(MemberAction::Resume), "tiny", "Resume…", "resume"))
                } @else {
                    (form::asks(&link(MemberAction::StepDown), "tiny", "Step down…", "stepdown"))
                }
            }
            (form::asks(&link(MemberAction::Remove), "tiny danger", "Remove…", "remove"))
        }
    }
}

/// The question before an action on a node.
pub(crate) fn question(
    context: &PageContext<'_>,
    report: &ClusterReport,
    action: MemberAction,
    member: &Member,
    error: Option<&str>,
) -> Page {
    let here = context.links.fixed("/cluster");
    let leads = report
        .shards
        .iter()
        .filter(|shard| shard.leader == Some(member.id))
        .count();
    let title = format!("{} node {}?", verb(action), member.id);
    let body = html! {
        div.narrow { div.panel { section.confirm data-confirm=(action.name()) aria-labelledby="confirm-title" {
            h1 id="confirm-title" { (title) }
            @if let Some(error) = error { p.loud-bad role="alert" data-test="confirm-error" { (error) } }
            p { (meaning(action)) }
            ul.losses {
                li { "Node " (member.id) " at " (member.address) " leads " (format::counted(u64::try_from(leads).unwrap_or(0), "shard", "shards")) "." }
                @if report.shards_in_trouble() > 0 {
                    li.loud-warn { (format::counted(u64::try_from(report.shards_in_trouble()).unwrap_or(0), "shard is", "shards are"))
                        " under-replicated now: wait until the cluster is healthy if you can." }
                }
                @if action == MemberAction::Remove && member.is_alive {
                    li.loud-warn { "The node is alive. Its copies of all shards are given up." }
                }
            }
            form.form method="post" action=(here) {
                (form::token(context))
                input type="hidden" name="action" value=(action.name());
                input type="hidden" name="node" value=(member.id);
                @if action == MemberAction::Remove {
                    div.field {
                        label for="typed" { "Type " span.mono { (member.address) } " to confirm" }
                        input id="typed" type="text" name="typed" required autocomplete="off" autocapitalize="off"
                            spellcheck="false" data-typed=(member.address) autofocus;
                    }
                }
                div.buttons {
                    a.button href=(here) data-cancel { "Cancel" }
                    button class={ "button " (if action == MemberAction::Remove { "danger-solid" } else { "primary" }) }
                        type="submit" data-go { (verb(action)) }
                }
            }
        } } }
    };
    let mut page = Page::new(title, Section::Cluster, body);
    page.is_live = false;
    page
}

/// What is done, as on a button.
pub(crate) fn verb(action: MemberAction) -> &'static str {
    match action {
        MemberAction::StepDown => "Step down",
        MemberAction::Resume => "Resume",
        MemberAction::Remove => "Remove",
    }
}

fn meaning(action: MemberAction) -> &'static str {
    match action {
        MemberAction::StepDown => {
            "The node hands its leaderships to other nodes and takes none until it is resumed. It keeps its copies. \
             Do this before maintenance."
        }
        MemberAction::Resume => "The node may lead shards again.",
        MemberAction::Remove => {
            "The node is removed from the cluster for good. Its copies move to other nodes where there are some. Its own shard \
             is served by the others until its messages are consumed. The node cannot come back with its data. This cannot be undone."
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
fn lossy(value: u64) -> f64 {
    value as f64
}
