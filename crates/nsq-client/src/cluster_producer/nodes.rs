//! The nodes of a cluster, and which of them is used.

use std::sync::Arc;

use tokio::sync::watch;

use crate::connect::Dialer;
use crate::producer::Producer;

/// All nodes that are known, one of which is the current one. There is always at least one.
pub(super) struct Nodes {
    given: Vec<String>,
    dialer: Arc<Dialer>,
    producers: Vec<Producer>,
    current: usize,
    /// How many were passed over, one after the other, since the last one that worked.
    passed_over: usize,
    known: watch::Sender<Vec<String>>,
}

impl Nodes {
    /// Begins with the first of these addresses. `None` if there are none. The receiver always has what is known.
    pub(super) fn new(
        given: Vec<String>,
        dialer: Arc<Dialer>,
    ) -> Option<(Self, watch::Receiver<Vec<String>>)> {
        if given.is_empty() {
            return None;
        }
        let (known, receiver) = watch::channel(given.clone());
        let mut nodes = Self {
            given,
            dialer,
            producers: Vec::new(),
            current: 0,
            passed_over: 0,
            known,
        };
        nodes.learn(&[]);
        Some((nodes, receiver))
    }

    pub(super) fn current(&self) -> Producer {
        self.producers[self.current].clone()
    }

    /// Takes these for all nodes of the cluster. The addresses that were given, and the current one, are kept in any case.
    pub(super) fn learn(&mut self, cluster: &[String]) {
        let current = self.producers.get(self.current).map(Producer::address);
        let mut addresses: Vec<String> = Vec::new();
        let candidates = current.into_iter().map(str::to_owned);
        let candidates = candidates.chain(cluster.iter().take(MOST_NODES).cloned());
        for address in candidates.chain(self.given.iter().cloned()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        // Connections that are there stay.
        let mut old = std::mem::take(&mut self.producers);
        for address in &addresses {
            let kept = old.iter().position(|node| node.address() == address);
            let producer = kept.map(|at| old.swap_remove(at));
            let new = || Producer::with(address.clone(), Arc::clone(&self.dialer), u32::MAX);
            let producer = producer.unwrap_or_else(new);
            self.producers.push(producer);
        }
        self.current = 0;
        if *self.known.borrow() != addresses {
            self.known.send_replace(addresses);
        }
    }

    /// The current one works.
    pub(super) fn worked(&mut self) {
        self.passed_over = 0;
    }

    /// Passes over the current one. Whether all have been passed over in turn.
    pub(super) fn pass_over(&mut self) -> bool {
        self.current = (self.current + 1) % self.producers.len();
        self.passed_over += 1;
        self.passed_over.is_multiple_of(self.producers.len())
    }
}

/// More are a mistake.
const MOST_NODES: usize = 100;
