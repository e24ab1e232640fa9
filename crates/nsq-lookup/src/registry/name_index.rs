//! Topics by name.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use nsq_protocol::TopicName;

use super::TopicId;

/// A hash map in many parts: one that grows moves all it holds, and with a million topics everyone would
/// wait a quarter of a second for it. A part grows alone.
#[derive(Debug)]
pub(super) struct NameIndex {
    parts: [HashMap<TopicName, TopicId>; PART_COUNT],
    hasher: RandomState,
}

impl NameIndex {
    pub(super) fn new() -> Self {
        Self {
            parts: array::from_fn(|_| HashMap::new()),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<TopicId> {
        self.parts[self.part(name)].get(name).copied()
    }

    pub(super) fn insert(&mut self, name: TopicName, id: TopicId) {
        self.parts[self.part(name.as_str())].insert(name, id);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<TopicId> {
        self.parts[self.part(name)].remove(name)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(HashMap::is_empty)
    }

    fn part(&self, name: &str) -> usize {
        // Each part has keys of its own for the rest of the way.
        usize::from(self.hasher.hash_one(name).to_le_bytes()[0])
    }
}

/// One for each value of a byte.
const PART_COUNT: usize = 256;
