//! What protects the cluster's port: a secret, certificates, or that only this machine reaches it.

use std::net::SocketAddr;

use nsq_transport::tls::{
    Acceptor, Authorities, ClientCertificate, Connector, Identity, MinVersion, PemFile, Trust,
};

use super::ClusterError;
use super::secret::ClusterSecret;
use crate::settings::table::NsqdOptions;

/// What protects the cluster's port.
#[derive(Debug, Clone)]
pub enum ClusterSecurity {
    /// Nothing: `listen` is an address of the loopback interface.
    Loopback,
    /// `--cluster-secret-file`: a peer must hold the same secret.
    Secret(ClusterSecret),
    /// `--cluster-tls-cert` and the options with it: both sides of a connection must show a certificate of the
    /// cluster's authority.
    MutualTls {
        /// Accepts connections of peers.
        acceptor: Acceptor,
        /// Makes connections to peers, whose certificate must be for the host in their address.
        connector: Connector,
    },
}

/// The TLS options with the values given to them.
fn tls_files(options: &NsqdOptions) -> [(&'static str, &str); 3] {
    [
        ("cluster-tls-cert", &options.cluster_tls_cert),
        ("cluster-tls-key", &options.cluster_tls_key),
        (
            "cluster-tls-root-ca-file",
            &options.cluster_tls_root_ca_file,
        ),
    ]
}

/// Reads what the options name.
pub(super) fn load(
    options: &NsqdOptions,
    listen: SocketAddr,
) -> Result<ClusterSecurity, ClusterError> {
    let tls_files = tls_files(options);
    let given = tls_files.iter().find(|(_, path)| !path.is_empty());
    let missing = tls_files.iter().find(|(_, path)| path.is_empty());
    let secret_file = options.cluster_secret_file.as_str();
    match (given, missing) {
        (Some(_), _) if !secret_file.is_empty() => Err(ClusterError::TwoProtections),
        (Some((given, _)), Some((missing, _))) => Err(ClusterError::HalfTls { given, missing }),
        (Some(_), None) => mutual_tls(options),
        (None, _) if !secret_file.is_empty() => {
            let secret = ClusterSecret::read(secret_file);
            secret.map(ClusterSecurity::Secret).map_err(|error| {
                let path = secret_file.to_owned();
                ClusterError::Secret { path, error }
            })
        }
        (None, _) if listen.ip().is_loopback() => Ok(ClusterSecurity::Loopback),
        (None, _) => Err(ClusterError::Unprotected(options.cluster_address.clone())),
    }
}

fn mutual_tls(options: &NsqdOptions) -> Result<ClusterSecurity, ClusterError> {
    let [cert, key, root_ca] = tls_files(options).map(|(flag, path)| PemFile::new(flag, path));
    let identity = || -> Result<Identity, ClusterError> {
        let missing = ClusterError::HalfTls {
            given: "cluster-tls-root-ca-file",
            missing: "cluster-tls-cert",
        };
        Identity::load(&cert, &key)?.ok_or(missing)
    };
    let clients = ClientCertificate::Verified(Authorities::load(&root_ca)?);
    let trust = Trust::Authorities(Authorities::load(&root_ca)?);
    Ok(ClusterSecurity::MutualTls {
        acceptor: Acceptor::new(identity()?, clients, MinVersion::Tls13),
        connector: Connector::new(trust, Some(identity()?), MinVersion::Tls13),
    })
}

impl ClusterSecurity {
    /// Takes over the certificates of `fresh` for connections made from now on. A secret only changes with a restart.
    pub(in crate::settings) fn adopt(&self, fresh: &ClusterSecurity) {
        if let (
            ClusterSecurity::MutualTls {
                acceptor,
                connector,
            },
            ClusterSecurity::MutualTls {
                acceptor: fresh_acceptor,
                connector: fresh_connector,
            },
        ) = (self, fresh)
        {
            acceptor.replace(fresh_acceptor);
            connector.replace(fresh_connector);
        }
    }
}
