//! What all requests share.

use std::sync::Arc;

use nsq_daemon::http::header::HeaderValue;
use nsq_daemon::http::{HttpLimits, RequestCounts};

use crate::access::Access;
use crate::cidr::Cidr;
use crate::cluster::Cluster;
use crate::finish_rates::FinishRates;
use crate::graphite::Graphite;
use crate::history::History;
use crate::notify::Notifier;
use crate::pages::Notices;
use crate::replication::Replication;
use crate::settings::Settings;
use crate::watch::Watch;

/// A running nsqadmin.
#[derive(Debug)]
pub struct Nsqadmin {
    /// As started, but for what `/config` changes.
    pub settings: Settings,
    /// The daemons.
    pub cluster: Cluster,
    /// What they were like.
    pub history: History,
    /// How fast consumers finish messages.
    pub finish_rates: FinishRates,
    /// What is wrong with them, and since when.
    pub watch: Watch,
    /// The replicated cluster that they form, if they form one.
    pub replication: Replication,
    /// Who may.
    pub access: Access,
    pub(crate) notifier: Notifier,
    pub(crate) requests: Arc<RequestCounts>,
    /// What its clients may take.
    pub http_limits: HttpLimits,
    pub(crate) graphite: Graphite,
    /// The `Content-Security-Policy` of every answer.
    pub(crate) security_policy: HeaderValue,
    /// Who may see and change `/config`; `None` for all.
    pub(crate) config_readers: Option<Cidr>,
    /// What actions came to, until it has been shown.
    pub notices: Notices,
}
