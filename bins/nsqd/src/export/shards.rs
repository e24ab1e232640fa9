//! `--export-to` on a node of a cluster: every shard of which the node has a replica.

use std::io::Write;
use std::path::Path;

use nsq_core::inspect::Inspection;
use nsq_queue::{private, sync_folder};

use super::{ExportError, Tally, export, replay};
use crate::cluster::stopped::{StoppedNode, StoppedShard};
use crate::settings::Settings;

/// Exports the node's own shard to the folder, and each other one to a folder of its own in it; whether nothing is damaged.
/// `in_data_path` is what the data path itself holds: the own shard, or data from before the node has one.
pub(super) fn export_all(
    node: &StoppedNode,
    in_data_path: Inspection,
    settings: &Settings,
    folder: &Path,
    output: &mut impl Write,
) -> Result<(Tally, bool), ExportError> {
    let mut total = Tally::default();
    let mut is_whole = true;
    let mut note = |(tally, is_sound): (Tally, bool)| {
        total.add(&tally);
        is_whole &= is_sound;
    };
    let own = node.identity.own_shard;
    let (owned, others): (Vec<_>, Vec<_>) = node
        .shards
        .iter()
        .partition(|shard| own == Some(shard.number));
    match owned.first() {
        Some(shard) => note(export_shard(
            shard,
            in_data_path,
            settings,
            (folder, folder),
            output,
        )?),
        None => note(export(&in_data_path, settings, folder, output)?),
    }
    for shard in others {
        if shard.is_missing {
            writeln!(output, "DAMAGE: {}", shard.damage.join("; "))?;
            note((Tally::default(), false));
            continue;
        }
        let into = folder.join(format!("shard-{}", shard.number));
        private::create_folder(&into)?;
        let data = Inspection::of(&shard.data_path, true)?;
        note(export_shard(
            shard,
            data,
            settings,
            (folder, &into),
            output,
        )?);
        sync_folder(&into)?;
    }
    Ok((total, is_whole))
}

/// Exports one shard into a folder; a copy of it may lie in `scratch` meanwhile.
fn export_shard(
    shard: &StoppedShard,
    data: Inspection,
    settings: &Settings,
    (scratch, into): (&Path, &Path),
    output: &mut impl Write,
) -> Result<(Tally, bool), ExportError> {
    writeln!(output, "shard {}:", shard.number)?;
    for why in &shard.damage {
        writeln!(output, "DAMAGE: {why}")?;
    }
    if shard.is_interrupted() {
        writeln!(
            output,
            "DAMAGE: it was being replaced by a received one, and is not exported: start and stop nsqd once"
        )?;
        return Ok((Tally::default(), false));
    }
    let (tally, is_sound) = if shard.pending(&data)?.entries == 0 {
        export(&data, settings, into, output)?
    } else {
        drop(data);
        replay::with(shard, settings, scratch, |data| {
            export(data, settings, into, output)
        })?
    };
    Ok((tally, is_sound && shard.damage.is_empty()))
}
