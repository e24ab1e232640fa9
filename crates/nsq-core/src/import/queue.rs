//! Copying one queue.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use nsq_queue::NewRecord;
use nsq_queue::diskqueue::{Message, QueueReader, Step};

use super::report::{QueueReport, Report};
use super::{ImportError, Queue, Target, step};
use crate::error::StoreError;
use crate::ids::FIRST_FOREIGN_ID;
use crate::time::Now;
use crate::topic::{ChannelCell, Topic};

/// Copied with one append.
const BATCH_MESSAGES: usize = 8192;
/// The same in bytes of bodies; the message that passes it is still taken.
const BATCH_BYTES: usize = 1 << 20;

/// A queue and the log it goes to.
pub(super) struct Work<'a> {
    queue: &'a Queue,
    pub(super) topic: &'a Topic,
    channel: Option<Arc<ChannelCell>>,
    end: u64,
}

impl<'a> Work<'a> {
    pub(super) fn plan(
        queue: &'a Queue,
        topic: &'a Topic,
        now: Now,
    ) -> Result<Work<'a>, ImportError> {
        let channel = match &queue.channel {
            // It was opened with the topic, or is made now.
            Some(name) => Some(topic.get_or_create_channel(name, now)?),
            None => None,
        };
        let end = match &channel {
            Some(cell) => cell.lock().inherited_end()?,
            None => topic.log_end(),
        };
        Ok(Work {
            queue,
            topic,
            channel,
            end,
        })
    }

    pub(super) fn target(&self) -> Target {
        Target {
            topic: self.queue.topic.to_string(),
            channel: self.channel.as_ref().map(|cell| cell.name().to_string()),
            end: self.end,
        }
    }

    /// Copies every message; the highest id of a kind that ours might come to.
    pub(super) fn copy(
        &self,
        data_path: &Path,
        max_body_bytes: u64,
        report: &mut Report,
    ) -> Result<u64, ImportError> {
        let files = &self.queue.files;
        let failed = |source: StoreError| ImportError::Queue {
            queue: files.name.clone(),
            source,
        };
        let reading = |error| failed(StoreError::Log(nsq_queue::LogError::File(error)));
        let mut queue_report = QueueReport::new(&files.name);
        let mut reader = QueueReader::open(data_path, files, max_body_bytes).map_err(reading)?;
        let mut batch = Batch::default();
        let mut highest = 0;
        while let Some(found) = reader.next().map_err(reading)? {
            match found {
                Step::Message(message) => {
                    if message.id < FIRST_FOREIGN_ID {
                        highest = highest.max(message.id);
                    }
                    batch.push(&message);
                    queue_report.count_message();
                }
                Step::Remark(remark) => queue_report.note(&remark),
            }
            if batch.is_full() {
                self.append(&mut batch).map_err(failed)?;
                step()?;
            }
        }
        self.append(&mut batch).map_err(failed)?;
        step()?;
        queue_report.log();
        report.add(&queue_report);
        Ok(highest)
    }

    fn append(&self, batch: &mut Batch) -> Result<(), StoreError> {
        self.topic
            .append_imported(self.channel.as_ref(), batch.records())?;
        batch.clear();
        Ok(())
    }

    /// Brings a channel's copies to the disk; a topic's come with the topic.
    pub(super) fn sync(&self) -> Result<(), ImportError> {
        if let Some(cell) = &self.channel {
            cell.lock().sync_inherited()?;
        }
        Ok(())
    }
}

/// Messages read and not yet appended.
#[derive(Default)]
struct Batch {
    heads: Vec<Head>,
    bodies: Vec<u8>,
}

struct Head {
    id: u64,
    timestamp: i64,
    attempts: u16,
    body: Range<usize>,
}

impl Batch {
    fn push(&mut self, message: &Message<'_>) {
        let start = self.bodies.len();
        self.bodies.extend_from_slice(message.body);
        self.heads.push(Head {
            id: message.id,
            timestamp: message.timestamp,
            attempts: message.attempts,
            body: start..self.bodies.len(),
        });
    }

    fn is_full(&self) -> bool {
        self.heads.len() >= BATCH_MESSAGES || self.bodies.len() >= BATCH_BYTES
    }

    fn records(&self) -> impl ExactSizeIterator<Item = NewRecord<'_>> {
        self.heads.iter().map(|head| NewRecord {
            id: head.id,
            timestamp: head.timestamp,
            due: 0,
            attempts: head.attempts,
            body: &self.bodies[head.body.clone()],
        })
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bodies.clear();
        // A message of many megabytes is no reason to hold as much for the rest.
        self.bodies.shrink_to(2 * BATCH_BYTES);
    }
}
