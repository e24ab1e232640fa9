//! The data path of one nsqd, as far as it is written to: every append to a log goes through here.
//!
//! Invariant: an append that works is recorded as a [change](crate::change), if changes are recorded; one that fails is
//! reported by `/ping`, whichever part made it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{LogError, NewRecord, Writer};

use crate::change::{Action, ChangeSink, Recorder};
use crate::channel::LogKind;
use crate::error::StoreError;

fn append_recorded(
    log: LogKind,
    writer: &mut Writer,
    records: &[NewRecord<'_>],
    recorder: &Recorder,
) -> Result<Range<u64>, LogError> {
    let range = writer.append(records.iter().copied())?;
    if !records.is_empty() {
        recorder.record(Action::Appended {
            log,
            first: range.start,
            records,
        });
    }
    Ok(range)
}

/// What all logs of one data path share when they are written.
pub(crate) struct DataPath {
    /// Where changes are recorded, if they are.
    sink: Option<Arc<dyn ChangeSink>>,
    is_healthy: AtomicBool,
    /// The last failure.
    fault: Mutex<String>,
    failed_append_count: AtomicU64,
}

impl DataPath {
    pub(crate) fn new(sink: Option<Arc<dyn ChangeSink>>) -> DataPath {
        DataPath {
            sink,
            is_healthy: AtomicBool::new(true),
            fault: Mutex::default(),
            failed_append_count: AtomicU64::new(0),
        }
    }

    /// What records the changes of that topic; nothing of an ephemeral one is ever recorded.
    pub(crate) fn recorder_of(&self, topic: &TopicName) -> Option<Recorder> {
        let sink = self.sink.as_ref().filter(|_| !topic.is_ephemeral())?;
        Some(Recorder::of_topic(sink, topic))
    }

    /// Appends a batch to a log, and returns its sequences.
    ///
    /// # Errors
    /// As [`Writer::append`]: all or nothing.
    #[inline]
    pub(crate) fn append<'a>(
        &self,
        log: LogKind,
        writer: &mut Writer,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
        recorder: Option<&Recorder>,
    ) -> Result<Range<u64>, LogError> {
        let appended = match recorder {
            None => writer.append(records),
            Some(recorder) => {
                let records: Vec<_> = records.collect();
                append_recorded(log, writer, &records, recorder)
            }
        };
        match &appended {
            Ok(_) => {
                if !self.is_healthy.load(Ordering::Relaxed) {
                    self.is_healthy.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => self.note_failed_append(error),
        }
        appended
    }

    /// Records that something could not be appended.
    pub(crate) fn note_failed_append(&self, fault: &LogError) {
        self.failed_append_count.fetch_add(1, Ordering::Relaxed);
        self.note_fault(fault);
    }

    /// Records that an import cut a log back; its journal names topic and channel.
    pub(crate) fn record_truncation(
        &self,
        topic: &str,
        channel: Option<&str>,
        log: LogKind,
        end: u64,
    ) {
        let Ok(topic) = TopicName::try_from(topic) else {
            return;
        };
        let Ok(channel) = channel.map(ChannelName::try_from).transpose() else {
            return;
        };
        let Some(recorder) = self.recorder_of(&topic) else {
            return;
        };
        let recorder = match &channel {
            Some(channel) => recorder.of_channel(channel),
            None => recorder,
        };
        recorder.record(Action::Truncated { log, end });
    }

    /// Records that a log could not be opened to append to it.
    pub(crate) fn note_not_opened(&self, error: &StoreError) {
        if let StoreError::Log(fault) = error {
            self.note_failed_append(fault);
        }
    }

    /// Records that a write or a sync failed: the data path is unhealthy until an append works again.
    pub(crate) fn note_fault(&self, fault: &LogError) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault.to_string();
        self.is_healthy.store(false, Ordering::Relaxed);
    }

    /// The last failure, unless an append has worked since.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.is_healthy.load(Ordering::Relaxed) {
            return None;
        }
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        Some(fault.clone())
    }

    /// How many appends failed.
    pub(crate) fn failed_append_count(&self) -> u64 {
        self.failed_append_count.load(Ordering::Relaxed)
    }
}
