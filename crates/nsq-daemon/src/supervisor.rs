//! What a daemon tells systemd, or whatever else started it with `NOTIFY_SOCKET` set (sd_notify(3)); without, nothing
//! happens.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// The daemon serves: units of `Type=notify` count as started only now.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon reads its configuration again; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("failed to notify the service manager - {error}"),
    }
}

/// What the daemon is doing, as the service manager shows it.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The daemon is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("failed to notify the service manager - {error}");
    }
}

/// Signs of life for a unit with `WatchdogSec=`, until dropped.
#[derive(Debug)]
pub struct Watchdog(JoinHandle<()>);

impl Watchdog {
    /// Tells the service manager twice in its interval that all is well, each time once `alive` came back: what that waits
    /// for must be what the daemon cannot do without. `None` where no one asks. Called within a tokio runtime.
    pub fn start<F>(alive: impl Fn() -> F + Send + 'static) -> Option<Self>
    where
        F: Future<Output = ()> + Send,
    {
        Some(Self::every(sd_notify::watchdog_enabled()? / 2, alive))
    }

    fn every<F>(interval: Duration, alive: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        Self(tokio::spawn(async move {
            loop {
                alive().await;
                tell(&[NotifyState::Watchdog]);
                tokio::time::sleep(interval).await;
            }
        }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}
