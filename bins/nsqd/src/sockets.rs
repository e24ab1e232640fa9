//! The sockets that nsqd listens on.

use std::io;
use std::sync::Arc;

use nsq_daemon::listen::{self, AnyBound, Bound, ListenError};
use nsq_transport::tls::Acceptor;

use crate::http_servers::{HttpServer, start_http, start_https};
use crate::nsqd::{Nsqd, Ports};
use crate::settings::Settings;

/// What nsqd listens on.
pub(crate) struct Sockets {
    pub(crate) tcp: AnyBound,
    http: Option<AnyBound>,
    https: Option<(Bound, Acceptor)>,
}

impl Sockets {
    /// Takes the addresses. Clients are refused until [`listen`](Self::listen).
    ///
    /// # Errors
    /// [`ListenError`], which names the flag of the address.
    pub(crate) fn bind(settings: &Settings) -> Result<Sockets, ListenError> {
        let tcp = listen::reserve_any(&settings.tcp_address);
        let tcp = tcp.map_err(|error| error.of_flag("tcp-address"))?;
        let http = match settings.http_address.as_str() {
            "" => None,
            address => {
                let bound = listen::reserve_any(address);
                Some(bound.map_err(|error| error.of_flag("http-address"))?)
            }
        };
        let https = match (settings.acceptor(), settings.https_address.as_str()) {
            (None, _) | (_, "") => None,
            (Some(acceptor), address) => {
                let bound = listen::reserve(address);
                let bound = bound.map_err(|error| error.of_flag("https-address"))?;
                Some((bound, acceptor.clone()))
            }
        };
        Ok(Sockets { tcp, http, https })
    }

    /// From now on clients can connect, and wait to be served. Listening twice changes nothing.
    ///
    /// # Errors
    /// [`ListenError`], which names the flag of the address.
    pub(crate) fn listen(&self) -> Result<(), ListenError> {
        let tcp = self.tcp.listen();
        tcp.map_err(|error| error.of_flag("tcp-address"))?;
        if let Some(http) = &self.http {
            let http = http.listen();
            http.map_err(|error| error.of_flag("http-address"))?;
        }
        if let Some((https, _)) = &self.https {
            let https = https.listen();
            https.map_err(|error| error.of_flag("https-address"))?;
        }
        Ok(())
    }

    pub(crate) fn ports(&self) -> Ports {
        let https = self.https.as_ref();
        Ports {
            tcp: self.tcp.port(),
            http: self.http.as_ref().map_or(Some(0), AnyBound::port),
            https: https.map_or(0, |(bound, _)| bound.address.port()),
        }
    }

    /// Serves HTTP until what it returns is dropped.
    pub(crate) fn http_servers(&mut self, nsqd: &Arc<Nsqd>) -> io::Result<Vec<HttpServer>> {
        let mut servers = Vec::new();
        if let Some(bound) = self.http.take() {
            servers.push(start_http(nsqd, bound)?);
        }
        if let Some((bound, acceptor)) = self.https.take() {
            servers.push(start_https(nsqd, bound, acceptor)?);
        }
        Ok(servers)
    }
}
