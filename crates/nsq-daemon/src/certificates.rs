//! Certificates that are read again while the daemon runs, on SIGHUP.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::signals::Hangup;

/// Reads again at each SIGHUP, until dropped.
#[derive(Debug)]
pub struct CertificateWatch(JoinHandle<()>);

impl CertificateWatch {
    /// Has `reload` called at each SIGHUP, on a thread that may block. It must leave everything as it was when it
    /// fails; either way the log says so. Called within a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses the signal's handler.
    pub fn start<E: Display + Send + 'static>(
        reload: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let mut hangup = Hangup::catch()?;
        let reload = Arc::new(reload);
        Ok(Self(tokio::spawn(async move {
            loop {
                hangup.received().await;
                let reload = Arc::clone(&reload);
                // Files are read, from wherever they are.
                match tokio::task::spawn_blocking(move || reload()).await {
                    Ok(Ok(())) => tracing::info!("TLS: certificates read again"),
                    Ok(Err(error)) => {
                        tracing::error!("TLS: the certificates stay as they were - {error}");
                    }
                    Err(error) => tracing::error!("TLS: {error}"),
                }
            }
        })))
    }
}

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
