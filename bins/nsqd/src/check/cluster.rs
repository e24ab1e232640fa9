//! `--check` on a node of a cluster: its replica of the directory, and its replicas of shards.

use std::io::Write;

use nsq_core::inspect::Inspection;

use super::{CheckError, report_data};
use crate::cluster::stopped::{StoppedNode, StoppedShard, entry_name, node_names};

/// Reports all replicas; in how many places something is damaged. The data of the own shard are reported by the caller.
pub(super) fn report(
    node: &StoppedNode,
    own_data: &Inspection,
    output: &mut impl Write,
) -> Result<usize, CheckError> {
    let mut damage_count = report_directory(node, output)?;
    let own = node.identity.own_shard;
    let (owned, others): (Vec<_>, Vec<_>) = node
        .shards
        .iter()
        .partition(|shard| own == Some(shard.number));
    for shard in others {
        damage_count += report_head(shard, "of another node", output)?;
        if shard.is_interrupted() || shard.is_missing {
            continue;
        }
        let data = Inspection::of(&shard.data_path, true)?;
        damage_count += report_data(&data, output)?;
        damage_count += report_pending(shard, &data, output)?;
    }
    for shard in owned {
        damage_count += report_head(shard, "its own", output)?;
        if !shard.is_interrupted() {
            damage_count += report_pending(shard, own_data, output)?;
        }
    }
    Ok(damage_count)
}

fn report_directory(node: &StoppedNode, output: &mut impl Write) -> Result<usize, CheckError> {
    let identity = &node.identity;
    writeln!(
        output,
        "cluster {}: this is node {}",
        identity.cluster, identity.node
    )?;
    let look = match &node.directory {
        Ok(look) => look,
        Err(why) => {
            writeln!(output, "DAMAGE: directory: {why}")?;
            return Ok(1);
        }
    };
    let members = look.directory.members.iter();
    let members: Vec<_> = members
        .map(|(node, member)| format!("{node} at {}", member.info.address))
        .collect();
    writeln!(
        output,
        "directory: last entry {}; members {}",
        entry_name(look.last()),
        members.join(", ")
    )?;
    let (damage, notices) = look
        .log
        .as_ref()
        .map_or((&[][..], &[][..]), |log| (&log.damage, &log.notices));
    report_findings(damage, notices, output)
}

fn report_head(
    shard: &StoppedShard,
    whose: &str,
    output: &mut impl Write,
) -> Result<usize, CheckError> {
    writeln!(
        output,
        "shard {}, {whose}: last entry {}, executed to {}; voters {}",
        shard.number,
        entry_name(shard.last()),
        entry_name(shard.executed()),
        node_names(shard.voters())
    )?;
    if shard.is_interrupted() {
        writeln!(
            output,
            "notice: shard {} was being replaced by a received one; the next start ends that",
            shard.number
        )?;
    }
    let notices = shard.log.as_ref().map_or(&[][..], |log| &log.notices);
    report_findings(&shard.damage, notices, output)
}

fn report_pending(
    shard: &StoppedShard,
    data: &Inspection,
    output: &mut impl Write,
) -> Result<usize, CheckError> {
    let pending = match shard.pending(data) {
        Ok(pending) => pending,
        Err(error) => {
            writeln!(output, "DAMAGE: shard {}: {error}", shard.number)?;
            return Ok(1);
        }
    };
    for (topic, count) in &pending.messages {
        writeln!(
            output,
            "  topic {topic}: {count} more messages are in the write-ahead log only"
        )?;
    }
    if pending.entries > 0 {
        writeln!(
            output,
            "  the write-ahead log has {} entries that are not known to be executed: a start executes them",
            pending.entries
        )?;
    }
    Ok(0)
}

fn report_findings(
    damage: &[String],
    notices: &[String],
    output: &mut impl Write,
) -> Result<usize, CheckError> {
    for why in damage {
        writeln!(output, "DAMAGE: {why}")?;
    }
    for why in notices {
        writeln!(output, "notice: {why}")?;
    }
    Ok(damage.len())
}
