//! Looks at the messages that one topic or channel has in several brokers, put together.

use nsq_core::{Peek, PeekLimits};

/// One look out of several. Each list keeps the order it has in one broker, as far as several have one: queued messages
/// by their age, the others by when they are due.
pub(super) fn merged(first: Peek, others: impl Iterator<Item = Peek>, limits: PeekLimits) -> Peek {
    let mut all = first;
    let mut is_merged = false;
    for other in others {
        is_merged = true;
        all.queued_total += other.queued_total;
        all.in_flight_total += other.in_flight_total;
        all.deferred_total += other.deferred_total;
        all.queued.extend(other.queued);
        all.in_flight.extend(other.in_flight);
        all.deferred.extend(other.deferred);
    }
    if is_merged {
        all.queued.sort_by_key(|message| message.timestamp);
        all.in_flight.sort_by_key(|held| held.due_at);
        all.deferred.sort_by_key(|deferred| deferred.due_at);
        all.queued.truncate(limits.messages);
        all.in_flight.truncate(limits.messages);
        all.deferred.truncate(limits.messages);
    }
    all
}
