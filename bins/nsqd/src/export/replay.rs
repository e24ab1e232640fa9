//! A shard with what its write-ahead log has and its data do not have yet: a copy of the data, on which that is executed.

use std::fs;
use std::io;
use std::path::Path;

use nsq_core::inspect::Inspection;
use nsq_core::replica::Replica;
use nsq_queue::private;
use nsq_shard::Item;

use super::ExportError;
use crate::cluster::stopped::StoppedShard;
use crate::run::core_settings;
use crate::settings::Settings;

/// Hands `use_it` the shard's data as of the end of its log. The copy lies in `folder` until then.
pub(super) fn with<T>(
    shard: &StoppedShard,
    settings: &Settings,
    folder: &Path,
    use_it: impl FnOnce(&Inspection) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let copy = folder.join("replaying");
    private::create_folder(&copy)?;
    copy_data(&shard.data_path, &copy)?;
    execute(shard, settings, &copy)?;
    let used = use_it(&Inspection::of(&copy, true)?)?;
    fs::remove_dir_all(&copy)?;
    Ok(used)
}

fn execute(shard: &StoppedShard, settings: &Settings, copy: &Path) -> Result<(), ExportError> {
    let failed = |why: String| ExportError::Replay {
        shard: shard.number,
        why,
    };
    let options = core_settings(settings, copy.to_owned()).log_options;
    let mut replica = Replica::open(copy, options)?;
    shard
        .for_each_pending(|item| match item {
            Item::Command(command) => replica
                .execute(&command)
                .map_err(|error| io::Error::other(error.to_string())),
            Item::Followed(_) => Ok(()),
        })
        .map_err(|error| failed(error.to_string()))?;
    replica.sync().map_err(|error| failed(error.to_string()))?;
    Ok(())
}

fn copy_data(data_path: &Path, copy: &Path) -> io::Result<()> {
    let registry = data_path.join("nsqd.dat");
    if registry.try_exists()? {
        fs::copy(registry, copy.join("nsqd.dat"))?;
    }
    let topics = data_path.join("topics");
    if topics.try_exists()? {
        copy_folder(&topics, &copy.join("topics"))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    private::create_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if !entry.file_type()?.is_dir() {
            fs::copy(path, to.join(name))?;
        } else if name != "free" {
            copy_folder(&path, &to.join(name))?;
        }
    }
    Ok(())
}
