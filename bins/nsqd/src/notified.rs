//! What nsqd does at SIGHUP and SIGUSR1.

use std::io;
use std::sync::Arc;

use nsq_daemon::reload::ReloadWatch;
use nsq_daemon::signals::UserSignal;
use tokio::task::JoinHandle;

use crate::auth::Authorizer;
use crate::drain::IN_CLUSTER;
use crate::drain::address::Address;
use crate::nsqd::Nsqd;

/// Reads config file and certificates again at each SIGHUP. With neither the signal keeps its default.
pub(crate) fn watch_for_changes(
    nsqd: &Arc<Nsqd>,
    authorizer: Option<Authorizer>,
) -> io::Result<Option<ReloadWatch>> {
    if !nsqd.settings.can_reload() {
        return Ok(None);
    }
    let nsqd = Arc::clone(nsqd);
    let reload = move || {
        nsqd.settings.reload(|| {
            if let Some(authorizer) = &authorizer {
                authorizer.renew_tls(&nsqd.settings);
            }
        });
        nsqd.registration.apply(&nsqd.settings, &nsqd.broker);
    };
    ReloadWatch::start(reload).map(Some)
}

/// Begins to drain at each SIGUSR1, as `POST /drain` does.
pub(crate) fn watch_for_order(nsqd: &Arc<Nsqd>, mut signal: UserSignal) -> JoinHandle<()> {
    let nsqd = Arc::clone(nsqd);
    tokio::spawn(async move {
        loop {
            signal.received().await;
            if nsqd.cluster.is_some() {
                tracing::error!("SIGUSR1: cannot drain: {IN_CLUSTER}");
                continue;
            }
            let to = Some(nsqd.settings.drain_to.as_str()).filter(|to| !to.is_empty());
            // It was checked with the other settings.
            let to = to.and_then(|to| Address::parse(to).ok());
            if let Err(error) = nsqd.drain.begin(to).await {
                tracing::error!("SIGUSR1: cannot drain: {error}");
            }
        }
    })
}
