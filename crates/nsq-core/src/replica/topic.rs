//! One topic of a replica: its logs and its channels.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{
    FinishedSet, Log, LogError, NewRecord, ReadError, Reader, Writer, private, sync_folder,
};

use super::channel::ReplicaChannel;
use super::{Files, ReplicaError};
use crate::change::{FanOut, Journaled, LogKind};
use crate::channel::has_log;
use crate::checkpoint::Collector;
use crate::ends;
use crate::error::StoreError;
use crate::registry::RegisteredTopic;
use crate::standing::{LastIds, Standing};
use crate::topic::{
    DEFERRED_OFFERED, HIGHEST_ID, MAIN_OFFERED, forget_positions_in, note_highest_imported,
    save_positions_in,
};

pub(super) struct ReplicaTopic {
    name: TopicName,
    folder: PathBuf,
    files: Files,
    main: Writer,
    deferred: Option<Writer>,
    /// Boxed, since a map takes the room of eleven of them at once, and most topics have one.
    channels: BTreeMap<ChannelName, Box<ReplicaChannel>>,
    standing: Standing,
    last_ids: LastIds,
    /// How many rounds of maintenance have passed since it was last used.
    idle_rounds: u32,
    is_used: bool,
    /// Whether files may be open.
    is_open: bool,
}

impl ReplicaTopic {
    pub(super) fn open(
        name: &TopicName,
        folder: PathBuf,
        files: &Files,
        known: &RegisteredTopic,
    ) -> Result<ReplicaTopic, ReplicaError> {
        // `nsqd.dat` may name a topic or channel that never had a folder.
        private::create_folders(&folder)
            .map_err(|error| StoreError::io("create", &folder, error))?;
        let main = files.open_log(&folder, "main")?;
        let deferred = if has_log(&folder, "deferred") {
            Some(files.open_log(&folder, "deferred")?)
        } else {
            None
        };
        ends::check(&folder, &main, deferred.as_ref())?;
        let standing = if known.paused || known.channels.is_empty() {
            standing_in(&folder, &main, deferred.as_ref(), known)?
        } else {
            Standing::default()
        };
        let mut topic = ReplicaTopic {
            name: name.clone(),
            folder,
            files: files.clone(),
            last_ids: LastIds::of(&main, deferred.as_ref()),
            main,
            deferred,
            channels: BTreeMap::new(),
            standing,
            idle_rounds: 0,
            is_used: true,
            is_open: false,
        };
        if let Some(position) = standing.position() {
            // Once it has a channel, a topic without a position does not stand still.
            topic.set_fan_out(Some(position))?;
        }
        topic.open_channels()?;
        for name in known.channels.keys() {
            if !topic.channels.contains_key(name) {
                topic.create_channel_at_end(name)?;
            }
        }
        Ok(topic)
    }

    fn open_channels(&mut self) -> Result<(), ReplicaError> {
        let listing = |error| StoreError::io("list", &self.folder, error);
        for entry in std::fs::read_dir(&self.folder).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let file = entry.file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".channel"));
            if let Some(Ok(name)) = name.map(ChannelName::try_from) {
                let channel = ReplicaChannel::open(
                    entry.path(),
                    &self.files,
                    self.main.log(),
                    self.deferred.as_ref().map(Writer::log),
                )?;
                self.channels.insert(name, Box::new(channel));
            }
        }
        Ok(())
    }

    // ---- channels ----

    pub(super) fn channel(
        &mut self,
        name: &ChannelName,
    ) -> Result<&mut ReplicaChannel, ReplicaError> {
        let of = &self.name;
        let channel = self.channels.get_mut(name);
        let channel = channel.map(|channel| &mut **channel);
        channel.ok_or_else(|| ReplicaError::Unknown(format!("channel {name} of {of}")))
    }

    pub(super) fn create_channel(
        &mut self,
        name: &ChannelName,
        main: u64,
        deferred: u64,
    ) -> Result<(), ReplicaError> {
        if !self.channels.contains_key(name) {
            let folder = self.folder.join(format!("{name}.channel"));
            private::create_folders(&folder)
                .map_err(|error| StoreError::io("create", &folder, error))?;
            let logs = (self.main.log(), self.deferred.as_ref().map(Writer::log));
            let channel = ReplicaChannel::open(folder, &self.files, logs.0, logs.1)?;
            self.channels.insert(name.clone(), Box::new(channel));
        }
        self.finish(name, LogKind::Main, main, &[])?;
        self.finish(name, LogKind::Deferred, deferred, &[])
    }

    /// Makes a channel that gets the messages from now on, or those that wait.
    pub(super) fn create_channel_at_end(&mut self, name: &ChannelName) -> Result<(), ReplicaError> {
        let start = self.standing.channel_start(self.ends());
        self.create_channel(name, start.main, start.of(LogKind::Deferred))
    }

    /// Releases the channel's files, which are in the folder that is returned.
    pub(super) fn forget_channel(&mut self, name: &ChannelName) -> PathBuf {
        self.channels.remove(name);
        self.folder.join(format!("{name}.channel"))
    }

    // ---- commands ----

    /// Where the logs end.
    pub(super) fn ends(&self) -> FanOut {
        FanOut::ends(&self.main, self.deferred.as_ref())
    }

    /// Appends messages. The log may have them already, since commands come again when a process starts. After a crash of
    /// the machine it may have some of them, and damage before those. So what is there of them, and everything after it, is
    /// replaced: the later commands come again too.
    pub(super) fn publish(
        &mut self,
        log: LogKind,
        records: &[NewRecord<'_>],
    ) -> Result<(), ReplicaError> {
        let (Some(first), Some(last), LogKind::Main | LogKind::Deferred) =
            (records.first(), records.last(), log)
        else {
            return Ok(());
        };
        let has_some = self.last_ids.has(log, first.id);
        let writer = self.writer(None, log)?;
        let mut records = records;
        if has_some {
            let place = match place_of(writer.log(), first.id)? {
                Place::At(place) => place,
                Place::Freed { id, sequence } => {
                    let freed = records.partition_point(|record| record.id < id);
                    records = &records[freed..];
                    if records.is_empty() {
                        return Ok(());
                    }
                    sequence
                }
            };
            // The log ends earlier for a moment, and that is no damage.
            let ends = self.ends();
            let ends = match log {
                LogKind::Deferred => FanOut {
                    deferred: Some(place),
                    ..ends
                },
                _ => FanOut {
                    main: place,
                    ..ends
                },
            };
            ends::note(&self.folder, ends);
            self.writer(None, log)?.truncate(place)?;
        }
        self.writer(None, log)?.append(records.iter().copied())?;
        self.last_ids.note(log, last.id);
        Ok(())
    }

    /// A channel came or went, or the topic was paused or resumed.
    pub(super) fn follow_flow(&mut self, paused: bool) -> Result<(), ReplicaError> {
        let is_flowing = !paused && !self.channels.is_empty();
        let mut standing = self.standing;
        standing.follow(is_flowing, self.ends());
        self.stand_at(standing)
    }

    /// Finishes what waits, everywhere.
    pub(super) fn skip_waiting(&mut self) -> Result<(), ReplicaError> {
        let Some(start) = self.standing.position() else {
            return Ok(());
        };
        let ends = self.ends();
        let logs = [
            (LogKind::Main, Some(&self.main)),
            (LogKind::Deferred, self.deferred.as_ref()),
        ];
        for channel in self.channels.values_mut() {
            for (kind, writer) in logs {
                if let Some(writer) = writer {
                    channel.skip(kind, writer.log(), start.of(kind)..ends.of(kind))?;
                }
            }
        }
        self.stand_at(Standing::at(Some(ends)))
    }

    /// Messages up to `position` were offered to ephemeral channels of the leader. What waits for a durable channel that was
    /// made in the meantime stays where it is.
    pub(super) fn advance(&mut self, position: FanOut) -> Result<(), ReplicaError> {
        if !self.channels.is_empty() {
            return Ok(());
        }
        let mut standing = self.standing;
        standing.advance(position, self.ends());
        self.stand_at(standing)
    }

    /// Takes over where the topic stands still, and writes it down.
    fn stand_at(&mut self, standing: Standing) -> Result<(), ReplicaError> {
        if standing != self.standing {
            self.set_fan_out(standing.position())?;
        }
        Ok(())
    }

    // ---- changes ----

    pub(super) fn append(
        &mut self,
        channel: Option<&ChannelName>,
        log: LogKind,
        first: u64,
        records: &[NewRecord<'_>],
    ) -> Result<(), ReplicaError> {
        let of = match channel {
            Some(channel) => format!("{}:{channel}", self.name),
            None => self.name.to_string(),
        };
        let writer = self.writer(channel, log)?;
        let end = writer.end().sequence;
        let known = end.checked_sub(first).ok_or(ReplicaError::Gap {
            of,
            log,
            end,
            first,
        })?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        if let Some(new) = records.get(known..).filter(|new| !new.is_empty()) {
            writer.append(new.iter().copied())?;
        }
        Ok(())
    }

    pub(super) fn truncate(
        &mut self,
        channel: Option<&ChannelName>,
        log: LogKind,
        end: u64,
    ) -> Result<(), ReplicaError> {
        Ok(self.writer(channel, log)?.truncate(end)?)
    }

    /// The writer of a log, which is made if there is none.
    fn writer(
        &mut self,
        channel: Option<&ChannelName>,
        log: LogKind,
    ) -> Result<&mut Writer, ReplicaError> {
        match (log, channel) {
            (LogKind::Main, _) => Ok(&mut self.main),
            (LogKind::Deferred, _) => {
                if self.deferred.is_none() {
                    self.deferred = Some(self.files.open_log(&self.folder, "deferred")?);
                }
                Ok(self.deferred.as_mut().expect("made just now"))
            }
            (LogKind::Private | LogKind::Inherited, Some(channel)) => {
                self.channel(channel)?.own_writer(log)
            }
            (LogKind::Private | LogKind::Inherited, None) => {
                let of = &self.name;
                Err(ReplicaError::Unknown(format!(
                    "channel without a name in {of}"
                )))
            }
        }
    }

    pub(super) fn finish(
        &mut self,
        channel: &ChannelName,
        log: LogKind,
        floor: u64,
        sequences: &[u64],
    ) -> Result<(), ReplicaError> {
        let topic_log = match log {
            LogKind::Main => Some(Arc::clone(self.main.log())),
            LogKind::Deferred => self.deferred.as_ref().map(|log| Arc::clone(log.log())),
            LogKind::Private | LogKind::Inherited => None,
        };
        let channel = self.channel(channel)?;
        channel.finish(log, topic_log.as_ref(), floor, sequences)
    }

    pub(super) fn journal(
        &mut self,
        channel: &ChannelName,
        entries: &[Journaled],
        unix_nanos: i64,
    ) -> Result<(), ReplicaError> {
        self.channel(channel)?.journal(entries, unix_nanos)
    }

    pub(super) fn set_fan_out(&mut self, position: Option<FanOut>) -> Result<(), ReplicaError> {
        match position {
            Some(position) => {
                let deferred = self.deferred.as_ref().map(Writer::log);
                save_positions_in(&self.folder, position, self.main.log(), deferred)?;
            }
            None => drop(forget_positions_in(&self.folder)),
        }
        self.standing = Standing::at(position);
        Ok(())
    }

    pub(super) fn note_imported(&self, highest_id: u64) -> Result<(), ReplicaError> {
        note_highest_imported(&self.folder, highest_id)?;
        Ok(())
    }

    // ---- upkeep ----

    /// Brings all of it to the disk.
    pub(super) fn sync(&self) -> Result<(), ReplicaError> {
        self.main.log().sync()?;
        if let Some(deferred) = &self.deferred {
            deferred.log().sync()?;
        }
        for channel in self.channels.values() {
            channel.sync()?;
        }
        for name in [MAIN_OFFERED, DEFERRED_OFFERED] {
            sync_file(&self.folder.join(name))?;
        }
        sync_folder(&self.folder).map_err(StoreError::from)?;
        if let Some(topics) = self.folder.parent() {
            sync_folder(topics).map_err(StoreError::from)?;
        }
        Ok(())
    }

    /// Notes where the logs end, for the next that opens them.
    pub(super) fn note_ends(&self) {
        ends::note(&self.folder, self.ends());
    }

    /// Adds the files of the topic and of its channels.
    pub(super) fn collect(&self, to: &mut Collector) -> Result<(), ReplicaError> {
        to.add_log(self.main.log())?;
        if let Some(deferred) = &self.deferred {
            to.add_log(deferred.log())?;
        }
        for name in [MAIN_OFFERED, DEFERRED_OFFERED, HIGHEST_ID] {
            to.add_small(&self.folder.join(name))?;
        }
        let mut channels = self.channels.values();
        channels.try_for_each(|channel| channel.collect(to))
    }

    /// Notes that something is about to happen. Returns whether all files were closed until now.
    pub(super) fn note_use(&mut self) -> bool {
        self.is_used = true;
        !std::mem::replace(&mut self.is_open, true)
    }

    /// Closes files; the next change opens them again.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.main.rest();
            if let Some(writer) = &mut self.deferred {
                writer.rest();
            }
            for channel in self.channels.values_mut() {
                channel.rest();
            }
        }
    }

    /// Counts a round of maintenance. Returns how many have passed since the topic was last used.
    pub(super) fn note_round(&mut self) -> u32 {
        if std::mem::take(&mut self.is_used) {
            self.idle_rounds = 0;
        } else {
            self.idle_rounds += 1;
        }
        self.idle_rounds
    }

    /// Frees what every channel has finished, and closes files.
    pub(super) fn maintain(&mut self) -> Result<(), ReplicaError> {
        let kept_from = self.standing.kept_from(self.ends());
        let main = self.floor(LogKind::Main).min(kept_from.0);
        let deferred = self.floor(LogKind::Deferred).min(kept_from.1);
        self.main.release_before(main);
        if let Some(writer) = &mut self.deferred {
            writer.release_before(deferred);
        }
        let mut channels = self.channels.values_mut();
        let maintained = channels.try_for_each(|channel| channel.maintain());
        self.is_open = true;
        self.rest();
        maintained
    }

    /// Below this sequence no channel needs anything of a log, nor will one that is made later.
    fn floor(&self, log: LogKind) -> u64 {
        let floors = self.channels.values().map(|channel| channel.floor(log));
        let standing = self.standing.position().map(|position| position.of(log));
        floors.chain(standing).min().unwrap_or(0)
    }
}

/// Where messages belong that are published again.
enum Place {
    /// At this sequence: the records before it have lower ids.
    At(u64),
    /// The log begins with the record of this id, which is at this sequence: what came before it was freed.
    Freed { id: u64, sequence: u64 },
}

/// Where a message with the id `id` belongs in a log whose ids ascend, and which has some with that id or a higher one. All
/// records with lower ids are synced, so damage lies after them.
fn place_of(log: &Arc<Log>, id: u64) -> Result<Place, ReplicaError> {
    let (first, end) = (log.first_sequence(), log.end_sequence());
    let mut reader = Reader::new(Arc::clone(log));
    let mut distance = NEAR_END;
    loop {
        let from = end.saturating_sub(distance).max(first);
        let mut cursor = log.seek(from);
        let mut place = None;
        let found = loop {
            match reader.next(&mut cursor) {
                Ok(Some(record)) if record.id < id => place = Some(record.sequence + 1),
                Ok(found) => break found.map(|record| (record.id, record.sequence)),
                Err(ReadError::Damaged { .. }) => {}
                Err(ReadError::Io(error)) => return Err(LogError::from(error).into()),
            }
        };
        return Ok(match (place, found) {
            (Some(place), _) => Place::At(place),
            (None, Some((id, sequence))) if from == first && first > 0 => {
                Place::Freed { id, sequence }
            }
            (None, _) if from == first => Place::At(first),
            (None, _) => {
                distance = distance.saturating_mul(4);
                continue;
            }
        });
    }
}

/// Where a topic stands still that has to, by its pause or for want of channels.
fn standing_in(
    folder: &Path,
    main: &Writer,
    deferred: Option<&Writer>,
    known: &RegisteredTopic,
) -> Result<Standing, ReplicaError> {
    let saved = saved_fan_out(folder, main.log(), deferred.map(Writer::log))?;
    let position = match saved {
        Some(saved) => saved.min(FanOut::ends(main, deferred)),
        // Without a position it did not stand still.
        None if !known.channels.is_empty() => FanOut::ends(main, deferred),
        None => FanOut {
            main: main.log().first_sequence(),
            deferred: deferred.map(|writer| writer.log().first_sequence()),
        },
    };
    Ok(Standing::at(Some(position)))
}

/// Where a topic stands still, by the files in its folder.
fn saved_fan_out(
    folder: &Path,
    main: &Log,
    deferred: Option<&Arc<Log>>,
) -> Result<Option<FanOut>, ReplicaError> {
    let saved = |name: &str, log: &Log| -> Result<Option<u64>, LogError> {
        let file = folder.join(name);
        if !file.exists() {
            return Ok(None);
        }
        Ok(Some(FinishedSet::open(&file, log.identity())?.floor()))
    };
    let Some(main) = saved(MAIN_OFFERED, main)? else {
        return Ok(None);
    };
    let deferred = match deferred {
        Some(log) => saved(DEFERRED_OFFERED, log)?,
        None => None,
    };
    Ok(Some(FanOut { main, deferred }))
}

/// Brings a file to the disk, if it is there.
pub(super) fn sync_file(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_data()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io("sync", path, error))
        }
        _ => Ok(()),
    }
}

/// How many records before the end of a log are searched first for those that come again.
const NEAR_END: u64 = 256;
