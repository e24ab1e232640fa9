//! SIGINT and SIGTERM, which ask a daemon to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals, caught from the moment this exists: from then on neither ends the process by
/// itself, and those that follow the first are ignored, so that a shutdown runs to its end.
/// SIGHUP and SIGQUIT keep their default, which is to end the process at once.
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
}
