//! A certificate authority for tests, and the files it hands out.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority of its own. Its files last as long as it does.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// Paths of a certificate and its key.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut params = CertificateParams::default();
        // Each has a name of its own, as authorities have.
        let name = folder.path().to_str().expect("temporary paths are text");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it can sign itself");
        Self { issuer, folder }
    }

    /// The path of its own certificate.
    pub(crate) fn file(&self) -> String {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// A certificate for `host`, a name or an IP.
    pub(crate) fn issue(&self, host: &str) -> Issued {
        let key = KeyPair::generate().expect("keys can be made");
        let params = CertificateParams::new([host.to_owned()]).expect("the host is a name");
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("it can sign others");
        Issued {
            cert: self.write(&format!("{host}.pem"), &certificate.pem()),
            key: self.write(&format!("{host}.key"), &key.serialize_pem()),
        }
    }

    /// Puts a file next to the others and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("temporary paths are text").to_owned()
    }
}
