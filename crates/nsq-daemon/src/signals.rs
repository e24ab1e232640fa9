//! SIGINT and SIGTERM, which ask a daemon to end; SIGHUP, which asks it to read its certificates again; SIGUSR1,
//! which means what the daemon says.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals, caught from the moment this exists: from then on neither ends the process by
/// itself, and those that follow the first are ignored, so that a shutdown runs to its end.
/// SIGQUIT keeps its default, which is to end the process at once, and so does SIGHUP unless there is a [`Hangup`].
#[derive(Debug)]
pub struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl ShutdownSignals {
    /// Catches the signals. Called within a tokio runtime that has its I/O driver on, and best
    /// before anything is opened that a shutdown has to close.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the first of either.
    pub async fn received(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, caught from the moment this exists.
#[derive(Debug)]
pub struct Hangup(Signal);

impl Hangup {
    /// Catches the signal. Called within a tokio runtime that has its I/O driver on.
    ///
    /// # Errors
    /// When the operating system refuses the handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one; those that come close together are one.
    pub async fn received(&mut self) {
        self.0.recv().await;
    }
}

/// SIGUSR1, caught from the moment this exists.
#[derive(Debug)]
pub struct UserSignal(Signal);

impl UserSignal {
    /// Catches the signal. Called within a tokio runtime that has its I/O driver on.
    ///
    /// # Errors
    /// When the operating system refuses the handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined1())?))
    }

    /// Waits for the next one; those that come close together are one.
    pub async fn received(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Kind, getpid, kill_process};

    #[tokio::test]
    async fn each_of_the_two_ends_the_wait_and_later_ones_do_no_harm() {
        for kind in [Kind::INT, Kind::TERM] {
            let signals = ShutdownSignals::catch().unwrap();
            kill_process(getpid(), kind).unwrap();
            signals.received().await;
            // Without the handler still in place this would end the test process.
            kill_process(getpid(), kind).unwrap();
        }
    }

    #[tokio::test]
    async fn a_hangup_is_heard_each_time_and_does_not_end_the_process() {
        let mut hangup = Hangup::catch().unwrap();
        for _ in 0..2 {
            kill_process(getpid(), Kind::HUP).unwrap();
            hangup.received().await;
        }
    }
}
