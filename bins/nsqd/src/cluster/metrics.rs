//! The families `nsqd_cluster_*` of `/metrics`.

use std::sync::atomic::Ordering;

use nsq_daemon::metrics::Exposition;

use super::consume::Consuming;
use super::report::{Report, Snapshot};
use super::route::Router;

/// Writes them all. `leader_changes` is how often a replica of this node got to know another leader.
pub(crate) fn write(
    out: &mut Exposition,
    snapshot: &Snapshot,
    router: &Router,
    consuming: &Consuming,
    leader_changes: u64,
) {
    let report = Report::of(snapshot);
    write_members(out, snapshot, &report);
    write_shards(out, snapshot, &report);
    write_logs(out, snapshot, &report);
    write_publishes(out, router);
    write_consuming(out, consuming);
    out.counter(
        "nsqd_cluster_leader_changes_total",
        "How often a replica of this node got to know another leader.",
    )
    .sample(&[], leader_changes);
    out.gauge(
        "nsqd_cluster_damaged_replicas_set_aside",
        "Times that this node has set damaged replicas aside and received them again, and whose folders are still there.",
    )
    .sample(&[], snapshot.own.set_aside.len());
}

fn write_members(out: &mut Exposition, snapshot: &Snapshot, report: &Report) {
    out.gauge("nsqd_cluster_members", "Members of the cluster.")
        .sample(&[], report.members.len());
    let alive = report.members.iter().filter(|member| member.is_alive);
    out.gauge(
        "nsqd_cluster_members_alive",
        "Members of the cluster that have answered this node during the last seconds, itself included.",
    )
    .sample(&[], alive.count());
    out.gauge(
        "nsqd_cluster_stepped_down",
        "Whether this node leads nothing, as far as others can, since an operator wants that.",
    )
    .sample(&[], snapshot.own.is_stepping_down);
    out.gauge("nsqd_cluster_problems", "Problems that /cluster lists.")
        .sample(&[], report.problems.len());
    out.gauge(
        "nsqd_cluster_directory_index",
        "Changes of the cluster's directory that this node knows.",
    )
    .sample(&[], report.directory.index);
    out.gauge(
        "nsqd_cluster_directory_leader_known",
        "Whether a leader of the directory is known that reaches a majority.",
    )
    .sample(&[], report.directory.group.leader.is_some());
}

fn write_shards(out: &mut Exposition, snapshot: &Snapshot, report: &Report) {
    let led = snapshot.own.groups.iter();
    let led = led.filter(|status| status.group != 0 && status.is_leader());
    out.gauge("nsqd_cluster_shards_led", "Shards that this node leads.")
        .sample(&[], led.count());
    let under_replicated = report.shards.iter();
    let under_replicated = under_replicated.filter(|shard| shard.is_under_replicated);
    out.gauge(
        "nsqd_cluster_shards_under_replicated",
        "Shards with fewer sound replicas than --replicas.",
    )
    .sample(&[], under_replicated.count());
    let mut known = out.gauge(
        "nsqd_cluster_shard_leader_known",
        "Whether a leader of the shard is known that reaches a majority.",
    );
    for shard in &report.shards {
        let number = shard.shard.to_string();
        known.sample(&[("shard", &number)], shard.group.leader.is_some());
    }
}

fn write_logs(out: &mut Exposition, snapshot: &Snapshot, report: &Report) {
    let mut bytes = out.gauge(
        "nsqd_cluster_log_bytes",
        "Bytes of the write-ahead log of this node's replica; shard 0 is the directory.",
    );
    for status in &snapshot.own.groups {
        let number = status.group.to_string();
        bytes.sample(&[("shard", &number)], status.log_bytes);
    }
    // A lag is shown by the leader only, so that a sum over all nodes counts it once.
    let led = report.shards.iter().filter(|shard| {
        snapshot
            .node
            .is_some_and(|node| shard.group.leader == Some(node.0))
    });
    let lags = led.flat_map(|shard| {
        let followers = shard.group.replicas.iter();
        let followers = followers.filter(|replica| Some(replica.node) != shard.group.leader);
        followers.map(|replica| (shard.shard.to_string(), replica))
    });
    let lags: Vec<_> = lags.collect();
    let mut entries = out.gauge(
        "nsqd_cluster_follower_lag_entries",
        "Entries of a shard led by this node that a follower may not have.",
    );
    for (shard, replica) in &lags {
        let node = replica.node.to_string();
        let lag = replica.lag_entries.unwrap_or_default();
        entries.sample(&[("shard", shard), ("node", &node)], lag);
    }
    let mut bytes = out.gauge(
        "nsqd_cluster_follower_lag_bytes",
        "The same in bytes, by the average size of the entries in the log.",
    );
    for (shard, replica) in &lags {
        let node = replica.node.to_string();
        let lag = replica.lag_bytes.unwrap_or_default();
        bytes.sample(&[("shard", shard), ("node", &node)], lag);
    }
}

fn write_publishes(out: &mut Exposition, router: &Router) {
    let figures = router.figures();
    let count = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    let (waiting, waiting_bytes) = router.waiting();
    out.counter(
        "nsqd_cluster_publishes_forwarded_total",
        "Publishes sent to another node that leads this node's shard. A run of PUBs counts as one.",
    )
    .sample(&[], count(&figures.forwarded));
    out.counter(
        "nsqd_cluster_publishes_held_total",
        "Publishes that this node could not give to its own shard at once.",
    )
    .sample(&[], count(&figures.held));
    out.counter(
        "nsqd_cluster_publishes_failed_total",
        "Publishes of those held or forwarded that failed.",
    )
    .sample(&[], count(&figures.failed));
    out.gauge(
        "nsqd_cluster_publishes_waiting",
        "Publishes that are held or being forwarded.",
    )
    .sample(&[], waiting);
    out.gauge(
        "nsqd_cluster_publishes_waiting_bytes",
        "Bytes of the publishes that are held or being forwarded.",
    )
    .sample(&[], waiting_bytes);
}

fn write_consuming(out: &mut Exposition, consuming: &Consuming) {
    let fetcher = consuming.fetcher();
    out.counter(
        "nsqd_cluster_messages_fetched_total",
        "Messages that consumers of this node have got of shards that other nodes lead.",
    )
    .sample(&[], fetcher.fetched_count());
    out.counter(
        "nsqd_cluster_messages_returned_total",
        "Messages of other nodes that went back, since no consumer had room for them in time.",
    )
    .sample(&[], fetcher.returned_count());
    out.gauge(
        "nsqd_cluster_remote_consumers",
        "Consumers of other nodes that this node feeds.",
    )
    .sample(&[], consuming.remote_consumer_count());
}
