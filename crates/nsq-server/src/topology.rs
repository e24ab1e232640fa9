//! Where this nsqd runs, and how near a client is to it.

use nsq_core::Locality;

/// Where this nsqd runs, for preferring clients that are near. The default prefers no client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Clients in the same region are near; empty for none.
    pub region: String,
    /// Clients in the same zone are nearest; empty for none.
    pub zone: String,
}

impl Topology {
    /// How near a client is that reports this region and zone.
    ///
    /// A zone counts by its name alone, as upstream's does. No client is near an nsqd without a region and a zone.
    pub fn locality(&self, region: &str, zone: &str) -> Locality {
        let is_same = |ours: &str, theirs: &str| !ours.is_empty() && ours == theirs;
        if is_same(&self.zone, zone) {
            Locality::Zone
        } else if is_same(&self.region, region) {
            Locality::Region
        } else {
            Locality::Elsewhere
        }
    }
}
