//! What all requests share.

use crate::cluster::Cluster;
use crate::history::History;
use crate::settings::Settings;

/// A running nsqadmin.
#[derive(Debug)]
pub struct Nsqadmin {
    /// As started, but for what `/config` changes.
    pub settings: Settings,
    /// The daemons.
    pub cluster: Cluster,
    /// What they were like.
    pub history: History,
}
