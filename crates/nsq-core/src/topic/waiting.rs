//! A look at what waits in the topic: published, and not yet offered to any channel.

use std::sync::Arc;

use super::Topic;
use crate::channel::LogKind;
use crate::peek::{DeferredMessage, Peek, PeekLimits, PeekReader};

impl Topic {
    /// Looks at the messages that wait for the first channel, or for the end of a pause. Those published with a
    /// deferral count as deferred, due or not. May wait for the disk.
    pub fn peek(&self, limits: PeekLimits) -> Peek {
        let (main, deferred) = {
            let state = self.lock();
            let start = self.offered.end(LogKind::Main);
            let main = (
                Arc::clone(state.main.log()),
                start..state.main.end().sequence,
            );
            let deferred = state.deferred.as_ref().map(|writer| {
                let start = self.offered.end(LogKind::Deferred);
                (Arc::clone(writer.log()), start..writer.end().sequence)
            });
            (main, deferred)
        };
        let read = |(log, sequences): &(Arc<_>, std::ops::Range<u64>)| {
            let cursor = nsq_queue::Log::seek(log, sequences.start);
            let first = sequences.clone().take(limits.messages);
            PeekReader::new(log, limits)
                .read_on(cursor, first)
                .into_iter()
        };
        let queued = read(&main).map(|(message, _)| message);
        let held_back = deferred.iter().flat_map(read);
        let mut held_back: Vec<_> = held_back
            .map(|(message, due_at)| DeferredMessage { message, due_at })
            .collect();
        held_back.sort_by_key(|deferred| deferred.due_at);
        let count =
            |sequences: &std::ops::Range<u64>| sequences.end.saturating_sub(sequences.start);
        Peek {
            queued_total: count(&main.1),
            in_flight_total: 0,
            deferred_total: deferred
                .as_ref()
                .map_or(0, |(_, sequences)| count(sequences)),
            queued: queued.collect(),
            in_flight: Vec::new(),
            deferred: held_back,
        }
    }
}
