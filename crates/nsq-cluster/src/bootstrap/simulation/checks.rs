//! What holds at every moment, and in the end.

use std::collections::BTreeSet;

use super::world::World;

impl World {
    pub(super) fn check_always(&self) {
        assert!(
            self.clusters.len() <= 1,
            "two clusters: {:?}",
            self.clusters.keys()
        );
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            if let Some(identity) = &node.identity {
                let number = (identity.cluster, identity.node);
                assert!(seen.insert(number), "two nodes are {number:?}");
            }
        }
    }

    pub(super) fn check_end(&self) {
        let clusters = self.clusters.first_key_value();
        let (cluster, known) = clusters.expect("a cluster was founded");
        let directory = &known.directory;
        for node in &self.nodes {
            let identity = node.identity.as_ref();
            let identity = identity.unwrap_or_else(|| panic!("{} is no member", node.address));
            assert_eq!(identity.cluster, *cluster, "{}", node.address);
            let member = directory.members.get(&identity.node);
            let member = member.unwrap_or_else(|| panic!("{} is not listed", node.address));
            assert_eq!(member.info.address, node.address);
            let running = node.process.as_ref().expect("it was started again");
            assert!(running.done.is_some(), "{} is not done", node.address);
        }
        assert_eq!(directory.members.len(), self.nodes.len());
    }
}
