//! The slots that hold the tracked messages, and which message falls due first.
//!
//! They stand in chunks, so that their number can grow without copying and without half of the memory standing empty.
//! Due times cost no memory of their own: each chunk has a bound before which nothing in it falls due. The lowest of all
//! bounds is checked when it is needed: messages that left the chunk may have made it too low, never too high.

use super::tracked_message::{State, TrackedMessage};
use crate::time::Tick;

/// Messages in a chunk: the more, the dearer a search in one, and the fewer bounds to search.
const CHUNK: usize = 256;

/// The number of a slot. It is used again once its message has left.
pub(super) type Slot = u32;

#[derive(Debug, Default)]
pub(super) struct Slots {
    /// All are full but the last. A vacant slot falls due [never](Tick::NEVER).
    chunks: Vec<Vec<TrackedMessage>>,
    /// By chunk: none of its messages falls due before.
    bounds: Vec<Tick>,
    /// When the first of all messages falls due, if that is known.
    earliest: Option<Tick>,
    vacant: Vec<Slot>,
}

impl Slots {
    /// How many slots there are, vacant ones included.
    pub(super) fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    /// The message in a slot, or the last one that was in it.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> &TrackedMessage {
        let at = slot as usize;
        &self.chunks[at / CHUNK][at % CHUNK]
    }

    /// The same; for a due time, use [`set_until`](Self::set_until).
    #[inline]
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut TrackedMessage {
        let at = slot as usize;
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    #[inline]
    pub(super) fn add(&mut self, message: TrackedMessage) -> Slot {
        let slot = match self.vacant.pop() {
            Some(slot) => {
                *self.get_mut(slot) = message;
                slot
            }
            None => self.add_at_end(message),
        };
        self.note_due(slot, message.until);
        slot
    }

    #[cold]
    fn add_at_end(&mut self, message: TrackedMessage) -> Slot {
        let slot = u32::try_from(self.len()).expect("4 billion messages do not fit in memory");
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(message),
            last => {
                // Most channels have few messages out: the first chunk grows as it is needed.
                let room = if last.is_some() { CHUNK } else { 0 };
                let mut chunk = Vec::with_capacity(room);
                chunk.push(message);
                self.chunks.push(chunk);
                self.bounds.push(Tick::NEVER);
            }
        }
        slot
    }

    /// Takes a message out of its slot.
    #[inline]
    pub(super) fn vacate(&mut self, slot: Slot) -> TrackedMessage {
        let place = self.get_mut(slot);
        let message = *place;
        place.until = Tick::NEVER;
        self.vacant.push(slot);
        self.forget_due(message.until);
        message
    }

    #[inline]
    pub(super) fn set_until(&mut self, slot: Slot, until: Tick) {
        let message = self.get_mut(slot);
        let before = message.until;
        message.until = until;
        self.forget_due(before);
        self.note_due(slot, until);
    }

    #[inline]
    fn note_due(&mut self, slot: Slot, until: Tick) {
        let bound = &mut self.bounds[slot as usize / CHUNK];
        *bound = until.min(*bound);
        if let Some(earliest) = &mut self.earliest {
            *earliest = until.min(*earliest);
        }
    }

    #[inline]
    fn forget_due(&mut self, until: Tick) {
        if self.earliest == Some(until) {
            self.earliest = None;
        }
    }

    /// When the first message falls due; [`Tick::NEVER`] when none does.
    pub(super) fn earliest(&mut self) -> Tick {
        if let Some(earliest) = self.earliest {
            return earliest;
        }
        let earliest = self.find_earliest();
        self.earliest = Some(earliest);
        earliest
    }

    fn find_earliest(&mut self) -> Tick {
        loop {
            let bounds = self.bounds.iter().enumerate();
            let Some((chunk, &bound)) = bounds.min_by_key(|(_, bound)| **bound) else {
                return Tick::NEVER;
            };
            let untils = self.chunks[chunk].iter().map(|message| message.until);
            let earliest = untils.min().unwrap_or(Tick::NEVER);
            self.bounds[chunk] = earliest;
            if earliest == bound {
                return earliest;
            }
        }
    }

    /// The first deferred message from `start` on, around to `start` again.
    pub(super) fn next_deferred(&self, start: Slot) -> Option<Slot> {
        let count = self.len();
        let start = (start as usize).min(count);
        let is_deferred = |&at: &usize| {
            let message = &self.chunks[at / CHUNK][at % CHUNK];
            // A vacant slot falls due never.
            message.state == State::Deferred && { message.until } != Tick::NEVER
        };
        let found = (start..count).chain(0..start).find(is_deferred)?;
        Some(Slot::try_from(found).expect("it was one before"))
    }

    /// Every message that falls due by `now`, in the order of their due times.
    pub(super) fn due_by(&self, now: Tick) -> Vec<Slot> {
        let mut due = Vec::new();
        let bounded = self.bounds.iter().enumerate();
        for (chunk, _) in bounded.filter(|(_, bound)| **bound <= now) {
            for (at, message) in self.chunks[chunk].iter().enumerate() {
                let (until, id) = (message.until, message.id);
                if until <= now {
                    let slot = Slot::try_from(chunk * CHUNK + at).expect("it was one before");
                    due.push((until, id, slot));
                }
            }
        }
        due.sort_unstable();
        due.into_iter().map(|(_, _, slot)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use nsq_queue::Position;

    use super::super::tracked_message::{Delivered, LogKind};
    use super::*;
    use crate::client::ClientId;

    fn due_at(id: u64, until: u64) -> TrackedMessage {
        TrackedMessage {
            id,
            sequence: 0,
            position: Position::default(),
            published: 0,
            until: Tick::from_nanos(until),
            delivered: Delivered::default(),
            client: ClientId(1),
            attempts: 1,
            log: LogKind::Main,
            state: State::InFlight,
        }
    }

    /// Messages come, go and are put off at random, several chunks of them; a plain list says what falls due when.
    #[test]
    fn what_falls_due_first_is_known_whatever_came_and_went() {
        let mut random = 42_u64;
        let mut below = |limit: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        let mut slots = Slots::default();
        let mut known: Vec<(u64, u64, Slot)> = Vec::new();
        let mut most = 0;
        for id in 0..20_000 {
            let until = id + below(1000);
            let change = below(20);
            if known.is_empty() || change < 9 + u64::from(known.len() < 1000) {
                known.push((until, id, slots.add(due_at(id, until))));
            } else if change < 14 {
                let at = usize::try_from(below(known.len() as u64)).unwrap();
                slots.vacate(known.swap_remove(at).2);
            } else {
                let at = usize::try_from(below(known.len() as u64)).unwrap();
                known[at].0 = until;
                slots.set_until(known[at].2, Tick::from_nanos(until));
            }
            most = most.max(known.len());
            if below(3) == 0 {
                let first = known.iter().min().map(|(until, ..)| *until);
                let first = first.map_or(Tick::NEVER, Tick::from_nanos);
                assert_eq!(slots.earliest(), first);
            }
            if below(50) == 0 {
                let now = id + below(100);
                known.sort_unstable();
                let due = known.partition_point(|(until, ..)| *until <= now);
                let due: Vec<Slot> = known[..due].iter().map(|(.., slot)| *slot).collect();
                assert_eq!(slots.due_by(Tick::from_nanos(now)), due);
            }
        }
        // There is a new slot only when none is vacant.
        assert_eq!(slots.len(), most);
        assert!(most > 2 * CHUNK);
    }

    #[test]
    fn a_search_for_deferred_messages_goes_on_where_the_last_one_ended() {
        let mut slots = Slots::default();
        let deferred = |id| TrackedMessage {
            state: State::Deferred,
            ..due_at(id, 1000)
        };
        let all: Vec<_> = (0..600).map(|id| slots.add(deferred(id))).collect();
        slots.get_mut(all[300]).state = State::InFlight;
        slots.vacate(all[301]);
        assert_eq!(slots.next_deferred(0), Some(all[0]));
        assert_eq!(slots.next_deferred(all[300]), Some(all[302]));
        assert_eq!(slots.next_deferred(all[599] + 1), Some(all[0]), "around");
        for slot in all.iter().filter(|slot| **slot != all[301]) {
            slots.get_mut(*slot).state = State::InFlight;
        }
        assert_eq!(slots.next_deferred(all[200]), None);
    }
}
