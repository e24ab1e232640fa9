//! nsqd's settings: from the command line, the config file and the defaults.
//!
//! The `table` has one row per option; from it follow flags, usage, config keys, defaults, fields and
//! `/config/<key>`. A [`Settings`] has passed every check: nothing past it asks again.

mod auth_tls;
mod byte_size;
mod check;
mod client_tls;
mod cluster;
mod limits;
mod lookupd_tls;
mod notices;
mod table;
mod tls_words;
mod topology;

#[cfg(test)]
mod tests;

pub use self::byte_size::ByteSize;
pub use self::cluster::{ClusterSecret, ClusterSecurity, ClusterSettings};
pub use self::table::NsqdOptions;
pub use self::tls_words::{TlsMinVersion, TlsRequired};

use std::ffi::OsString;
use std::ops::Deref;

use nsq_daemon::listen::join_host_port;
use nsq_daemon::options::{ConfigValue, Given, Options as _, PutError};
use nsq_daemon::reload::Configured;
use nsq_daemon::resolve;
use nsq_daemon::stop::Stop;
use nsq_transport::tls::{Acceptor, Connector};

/// The program's name, in usage, version line and start-up failures.
pub const PROGRAM: &str = "nsqd";

/// nsqd's options, resolved and checked; the fields are those of [`NsqdOptions`].
#[derive(Debug)]
pub struct Settings {
    options: NsqdOptions,
    given: Given,
    /// What it all was loaded from.
    args: Vec<OsString>,
    configured: Configured,
    acceptor: Option<Acceptor>,
    lookupd_connector: Option<Connector>,
    auth_tls: Connector,
    cluster: Option<ClusterSettings>,
}

impl Settings {
    /// Resolves `args`, the command line without the program's own name.
    ///
    /// # Errors
    /// [`Stop`] for `--version`, `--help`, `--print-config` and `--check-config`, for misuse, for a config file that cannot be taken
    /// and for settings nsqd cannot run with.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let args: Vec<_> = args.into_iter().collect();
        let (options, given) = resolved(&args)?;
        let acceptor = client_tls::load(&options).map_err(|error| fatal(&error))?;
        let auth_tls = auth_tls::load(&options);
        let auth_tls = auth_tls
            .map_err(|error| fatal(&format!("failed to build client TLS config - {error}")))?;
        let lookupd_connector = lookupd_tls::load(&options).map_err(|error| fatal(&error))?;
        let cluster = cluster::load(&options, &given).map_err(|error| fatal(&error))?;
        if let Some(stop) = resolve::only_checked(PROGRAM, &options) {
            return Err(stop);
        }
        Ok(Self {
            configured: Configured::of(&options),
            options,
            given,
            args,
            acceptor,
            lookupd_connector,
            auth_tls,
            cluster,
        })
    }

    /// The settings of a node of a cluster; `None` for a single node.
    pub fn cluster(&self) -> Option<&ClusterSettings> {
        self.cluster.as_ref()
    }

    /// Fills in what only the bound sockets tell: the ports told to nsqlookupd, unless they were
    /// given, and the host within the statsd prefix. `http` is 0 when HTTP is off.
    pub fn fill_in_ports(&mut self, tcp: u16, http: u16) {
        let options = &mut self.options;
        if options.broadcast_tcp_port == 0 {
            options.broadcast_tcp_port = tcp;
        }
        if options.broadcast_http_port == 0 {
            options.broadcast_http_port = http;
        }
        if options.statsd_prefix.is_empty() {
            return;
        }
        let host_port = join_host_port(&options.broadcast_address, options.broadcast_http_port);
        let host_key = host_port.replace(['.', ':'], "_");
        options.statsd_prefix = options.statsd_prefix.replace("%s", &host_key);
        if !options.statsd_prefix.ends_with('.') {
            options.statsd_prefix.push('.');
        }
    }

    /// With what to meet clients by TLS; `None` where there is none.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_ref()
    }

    /// Whether there is anything that [`Settings::reload`] would read.
    pub fn can_reload(&self) -> bool {
        self.has_certificates() || !self.options.config.is_empty()
    }

    fn has_certificates(&self) -> bool {
        let verifies_auth =
            !self.auth_http_addresses.is_empty() && !self.tls_root_ca_file.is_empty();
        let is_cluster_by_tls = !self.cluster_tls_cert.is_empty();
        self.acceptor.is_some()
            || self.lookupd_connector.is_some()
            || verifies_auth
            || is_cluster_by_tls
    }

    /// Reads the config file and all files of TLS again, puts in force what can change, and logs it. `renew_clients`
    /// replaces the clients that were made with [`Settings::auth_tls`]; it runs before the log says that the certificates
    /// were read, so that a program that waits for that line meets the new ones.
    pub fn reload(&self, renew_clients: impl FnOnce()) {
        let fresh = resolved(&self.args).map(|(options, _)| options);
        self.configured.adopt_if(&self.options, fresh);
        if !self.has_certificates() {
            renew_clients();
            return;
        }
        match self.reload_certificates() {
            Ok(()) => {
                renew_clients();
                tracing::info!("TLS: certificates read again");
            }
            Err(error) => tracing::error!("TLS: the certificates did not change - {error}"),
        }
    }

    /// Reads all files of TLS again: handshakes that begin from then on go by them. Connections stay as they are. The
    /// client for authorization servers has to be made again, with [`Settings::auth_tls`].
    ///
    /// # Errors
    /// The first file that cannot be taken, with its flag; then nothing has changed.
    fn reload_certificates(&self) -> Result<(), String> {
        let acceptor = client_tls::load(&self.options).map_err(|error| error.to_string())?;
        let connector = lookupd_tls::load(&self.options).map_err(|error| error.to_string())?;
        let auth_tls = auth_tls::load(&self.options).map_err(|error| error.to_string())?;
        let cluster =
            cluster::load(&self.options, &self.given).map_err(|error| error.to_string())?;
        self.auth_tls.replace(&auth_tls);
        if let (Some(cluster), Some(new)) = (&self.cluster, cluster) {
            cluster.security.adopt(&new.security);
        }
        if let (Some(acceptor), Some(new)) = (&self.acceptor, acceptor) {
            acceptor.replace(&new);
        }
        if let (Some(connector), Some(new)) = (&self.lookupd_connector, connector) {
            connector.replace(&new);
        }
        Ok(())
    }

    /// With what to connect to nsqlookupds by TLS; `None` for plain connections.
    pub fn lookupd_connector(&self) -> Option<&Connector> {
        self.lookupd_connector.as_ref()
    }

    /// How to speak TLS with authorization servers.
    pub fn auth_tls(&self) -> &Connector {
        &self.auth_tls
    }

    /// What a GET of `/config/<key>` answers; `None` for an unknown key.
    pub fn config_value(&self, key: &str) -> Option<ConfigValue> {
        self.options.config_value(key)
    }

    /// Carries out a PUT to `/config/<key>` and returns the new value in GET's form. A caller that uses
    /// the option sees it from then on: through [`NsqdOptions::log_level`] and
    /// [`NsqdOptions::nsqlookupd_tcp_addresses`], which alone can change.
    ///
    /// # Errors
    /// [`PutError`] for an unknown or fixed option and for a body that is no value of it.
    pub fn put_config_value(&self, key: &str, body: &[u8]) -> Result<ConfigValue, PutError> {
        self.options.put_config_value(key, body)
    }

    /// Logs what an operator should know about the options that were given.
    pub fn log_notices(&self) {
        let min_version_is_given = self.given.has("tls-min-version");
        for notice in client_tls::notices(&self.options, min_version_is_given) {
            tracing::warn!("{notice}");
        }
        notices::log_notices(&self.given);
        for notice in topology::notices(&self.options) {
            tracing::warn!("{notice}");
        }
        for notice in cluster::notices(self.cluster.as_ref(), &self.given) {
            tracing::warn!("{notice}");
        }
    }
}

/// The options from the command line and the config file, checked.
fn resolved(args: &[OsString]) -> Result<(NsqdOptions, Given), Stop> {
    let mut options = NsqdOptions::default();
    let given = resolve::resolve(PROGRAM, args.iter().cloned(), &mut options)?;
    check::check(&mut options).map_err(|error| fatal(&error))?;
    Ok((options, given))
}

fn fatal(error: &dyn std::fmt::Display) -> Stop {
    Stop::Fatal(format!("failed to instantiate nsqd - {error}"))
}

impl Deref for Settings {
    type Target = NsqdOptions;

    fn deref(&self) -> &NsqdOptions {
        &self.options
    }
}
