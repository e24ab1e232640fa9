//! What an import says in the log.

use std::path::Path;

use nsq_queue::diskqueue::Remark;

/// Remarks told one by one for each queue; those beyond are counted.
const TOLD_REMARKS: u64 = 20;
/// A line for every so many messages of a long queue.
const PROGRESS_MESSAGES: u64 = 1_000_000;

/// Over all queues.
#[derive(Debug, Default)]
pub(super) struct Report {
    queues: u64,
    messages: u64,
    damages: u64,
}

/// Of one queue.
#[derive(Debug)]
pub(super) struct QueueReport<'a> {
    queue: &'a str,
    messages: u64,
    remarks: u64,
    damages: u64,
}

impl<'a> QueueReport<'a> {
    pub(super) fn new(queue: &'a str) -> Self {
        Self {
            queue,
            messages: 0,
            remarks: 0,
            damages: 0,
        }
    }

    pub(super) fn count_message(&mut self) {
        self.messages += 1;
        if self.messages.is_multiple_of(PROGRESS_MESSAGES) {
            tracing::info!("IMPORT({}): {} messages so far", self.queue, self.messages);
        }
    }

    pub(super) fn note(&mut self, remark: &Remark) {
        self.remarks += 1;
        self.damages += u64::from(remark.is_damage());
        if self.remarks > TOLD_REMARKS {
            return;
        }
        if remark.is_damage() {
            tracing::warn!("IMPORT({}): {remark}", self.queue);
        } else {
            tracing::info!("IMPORT({}): {remark}", self.queue);
        }
    }

    pub(super) fn log(&self) {
        if let Some(more) = self
            .remarks
            .checked_sub(TOLD_REMARKS)
            .filter(|&more| more > 0)
        {
            tracing::warn!("IMPORT({}): and {more} more places like these", self.queue);
        }
        tracing::info!("IMPORT({}): {} messages", self.queue, self.messages);
    }
}

impl Report {
    pub(super) fn add(&mut self, queue: &QueueReport<'_>) {
        self.queues += 1;
        self.messages += queue.messages;
        self.damages += queue.damages;
    }

    pub(super) fn log(&self, folder: &Path) {
        let Report {
            queues,
            messages,
            damages,
        } = self;
        let folder = folder.display();
        tracing::info!(
            "IMPORT: {messages} messages of {queues} disk queues of upstream's nsqd; the files are now in {folder}"
        );
        if *damages > 0 {
            tracing::warn!("IMPORT: {damages} problems were found in those files: see above");
        }
    }
}
