//! The nodes of one registration.

use super::NodeId;

/// A set of nodes, four bytes each: a large cluster has a million registrations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeSet {
    /// Ascending, each once.
    ids: Vec<NodeId>,
}

impl NodeSet {
    /// Whether `id` was not there before.
    pub(super) fn insert(&mut self, id: NodeId) -> bool {
        match self.ids.binary_search(&id) {
            Ok(_) => false,
            Err(at) => {
                if self.ids.capacity() == 0 {
                    // Most registrations have one node; growing by doubling starts at four.
                    self.ids.reserve_exact(1);
                }
                self.ids.insert(at, id);
                true
            }
        }
    }

    /// Whether `id` was there before.
    pub(super) fn remove(&mut self, id: NodeId) -> bool {
        match self.ids.binary_search(&id) {
            Ok(at) => {
                self.ids.remove(at);
                if self.ids.is_empty() {
                    self.ids = Vec::new();
                }
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = NodeId> {
        self.ids.iter().copied()
    }
}
