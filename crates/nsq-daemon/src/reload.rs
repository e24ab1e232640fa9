//! What changes without a restart: on SIGHUP a daemon reads its certificates and its config file again.
//!
//! Only options whose value in the file or on the command line *has changed since the last time* are applied. So a value
//! that was set over HTTP stays until the file has a new one.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::options::{FileValue, Options};
use crate::signals::Hangup;
use crate::stop::Stop;
use crate::supervisor;

/// Reads again at each SIGHUP, until dropped.
#[derive(Debug)]
pub struct ReloadWatch(JoinHandle<()>);

impl ReloadWatch {
    /// Has `reload` called at each SIGHUP, on a thread that may block; it logs what it did. Called within a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses the signal's handler.
    pub fn start(reload: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let mut hangup = Hangup::catch()?;
        let reload = Arc::new(reload);
        Ok(Self(tokio::spawn(async move {
            loop {
                hangup.received().await;
                supervisor::reloading();
                let reload = Arc::clone(&reload);
                // Files are read, from wherever they are.
                if let Err(error) = tokio::task::spawn_blocking(move || reload()).await {
                    tracing::error!("SIGHUP: {error}");
                }
                supervisor::ready();
            }
        })))
    }
}

impl Drop for ReloadWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the command line and the config file said last.
#[derive(Debug)]
pub struct Configured {
    values: Mutex<Vec<(&'static str, FileValue)>>,
}

impl Configured {
    /// What `options` say, just resolved.
    pub fn of<T: Options>(options: &T) -> Self {
        Self {
            values: Mutex::new(values(options)),
        }
    }

    /// As [`adopt`](Self::adopt), where resolving again may have failed: then all stays as it was, and the log says why.
    pub fn adopt_if<T: Options>(&self, running: &T, fresh: Result<T, Stop>) {
        match fresh {
            Ok(fresh) => self.adopt(running, &fresh),
            Err(stop) => tracing::error!("SIGHUP: no option changed - {}", stop.text()),
        }
    }

    /// Puts in force in `running` what `fresh`, resolved again, says otherwise than the last time, as far as it can change
    /// while the program runs, and logs each of them; what takes a restart is logged every time.
    pub fn adopt<T: Options>(&self, running: &T, fresh: &T) {
        let mut known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.rows();
        for (flag, value) in values(fresh) {
            let Some((_, known)) = known.iter_mut().find(|(known, _)| *known == flag) else {
                continue;
            };
            let row = running.iter().find(|row| row.flag == flag);
            let Some(row) = row.filter(|_| *known != value) else {
                continue;
            };
            if row.value.adopt(&value).is_ok() {
                tracing::info!("SIGHUP: --{flag} is {value} now");
                *known = value;
            } else {
                tracing::warn!("SIGHUP: --{flag} changes to {value} at the next start");
            }
        }
    }
}

/// The options that a config file can give.
fn values<T: Options>(options: &T) -> Vec<(&'static str, FileValue)> {
    let rows = options.rows();
    let keyed = rows.iter().filter(|row| row.key.is_some());
    keyed
        .map(|row| (row.flag, row.value.file_value()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::Sample;

    fn with_file(text: &str) -> Sample {
        let mut sample = Sample::default();
        crate::config::merge_text(text, &mut sample);
        sample
    }

    #[test]
    fn only_what_the_file_has_anew_is_put_in_force() {
        let running = with_file("nsqlookupd_tcp_addresses = [\"a:1\"]");
        let configured = Configured::of(&running);
        running
            .put_config_value("nsqlookupd_tcp_addresses", br#"["set:1"]"#)
            .unwrap();
        // The file says what it said: what was set over HTTP stays.
        configured.adopt(&running, &with_file("nsqlookupd_tcp_addresses = [\"a:1\"]"));
        assert_eq!(**running.lookupd.current(), ["set:1"]);
        configured.adopt(&running, &with_file("nsqlookupd_tcp_addresses = [\"b:2\"]"));
        assert_eq!(**running.lookupd.current(), ["b:2"]);
        configured.adopt(&running, &with_file("id = 9"));
        assert!(running.lookupd.current().is_empty());
        assert_eq!(running.node_id, 7, "takes a restart");
    }
}
