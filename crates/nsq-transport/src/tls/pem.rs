//! What TLS needs from files: an own certificate with its key, and the authorities to trust.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::rustls;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys, RootCertStore};

use super::refusal::{SUPPORTED_KEYS, explain_own};

/// A file in PEM form, and the flag that names it. An empty path is a flag that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Without dashes.
    pub flag: &'static str,
    /// As given.
    pub path: String,
}

/// Files that TLS cannot be had with. `Display` names flag, file and rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file is not there or not readable.
    #[error("{file}: {why}")]
    Unreadable {
        /// Which.
        file: PemFile,
        /// The operating system's text.
        why: String,
    },
    /// The file is readable, but what is looked for is not in it.
    #[error("{file}: it must contain {what} in PEM form")]
    Missing {
        /// Which.
        file: PemFile,
        /// What was looked for.
        what: &'static str,
    },
    /// The file holds something that cannot be taken.
    #[error("{file}: {why}")]
    Damaged {
        /// Which.
        file: PemFile,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key are of different pairs.
    #[error("{key}: must be the key of the certificate in {cert}")]
    KeyMismatch {
        /// The certificate.
        cert: PemFile,
        /// The key.
        key: PemFile,
    },
    /// The system's own authorities cannot be had.
    #[error("the system's certificate authorities: {why}")]
    NoSystemAuthorities {
        /// What went wrong with them.
        why: String,
    },
    /// One of a pair of flags was given without the other.
    #[error("{given} also needs --{missing}: a certificate and its key are given together")]
    Incomplete {
        /// The one that was given.
        given: PemFile,
        /// The flag of the other.
        missing: &'static str,
    },
}

/// A certificate, with those that lead from it to its authority, and its key.
#[derive(Debug, Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

/// The certificate authorities to verify the other side with: one at least.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// For chains: their names and keys.
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates themselves, to recognise one that is shown as it stands.
    certificates: Arc<[CertificateDer<'static>]>,
}

impl PemFile {
    /// The file that `flag` (without dashes) gives.
    pub fn new(flag: &'static str, path: &str) -> Self {
        let path = path.to_owned();
        Self { flag, path }
    }

    /// Whether the flag was given.
    pub fn is_given(&self) -> bool {
        !self.path.is_empty()
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        std::fs::read(&self.path).map_err(|error| TlsError::Unreadable {
            file: self.clone(),
            why: plain_text(&error),
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let what = "a certificate";
        match certificates {
            Ok(none) if none.is_empty() => Err(TlsError::Missing {
                file: self.clone(),
                what,
            }),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.wrong(&error, what)),
        }
    }

    fn wrong(&self, error: &pem::Error, what: &'static str) -> TlsError {
        let file = self.clone();
        match error {
            pem::Error::NoItemsFound => TlsError::Missing { file, what },
            error => self.damaged(error),
        }
    }

    fn damaged(&self, why: &dyn fmt::Display) -> TlsError {
        TlsError::Damaged {
            file: self.clone(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}={}", self.flag, self.path)
    }
}

impl Identity {
    /// Reads a certificate and its key. `None` if neither was given.
    ///
    /// # Errors
    /// [`TlsError`] if only one was given, or they cannot be read or do not belong together.
    pub fn load(cert: &PemFile, key: &PemFile) -> Result<Option<Self>, TlsError> {
        let incomplete = |given: &PemFile, missing: &PemFile| TlsError::Incomplete {
            given: given.clone(),
            missing: missing.flag,
        };
        match (cert.is_given(), key.is_given()) {
            (false, false) => return Ok(None),
            (true, false) => return Err(incomplete(cert, key)),
            (false, true) => return Err(incomplete(key, cert)),
            (true, true) => {}
        }
        let chain = cert.certificates()?;
        let secret = PrivateKeyDer::from_pem_slice(&key.read()?)
            .map_err(|error| key.wrong(&error, "a private key that is not encrypted"))?;
        let provider = rustls::crypto::ring::default_provider();
        let secret = provider.key_provider.load_private_key(secret);
        let secret = secret.map_err(|_| {
            key.damaged(&format!(
                "the private key is damaged or of a kind that is not supported; {SUPPORTED_KEYS}"
            ))
        })?;
        let pair = CertifiedKey::new(chain, secret);
        match pair.keys_match() {
            Ok(()) => Ok(Some(Self(Arc::new(pair)))),
            Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::KeyMismatch {
                    cert: cert.clone(),
                    key: key.clone(),
                })
            }
            Err(error) => Err(cert.damaged(&explain_own(&error))),
        }
    }
}

impl Authorities {
    /// Reads the certificates of all authorities in a file.
    ///
    /// # Errors
    /// [`TlsError`] if it cannot be read, holds none, or holds one that no other can be verified with.
    pub fn load(file: &PemFile) -> Result<Self, TlsError> {
        let certificates = file.certificates()?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|error| file.damaged(&explain_own(&error)))?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            certificates: certificates.into(),
        })
    }

    /// Those that the system trusts.
    ///
    /// # Errors
    /// [`TlsError::NoSystemAuthorities`] if there are none.
    pub fn of_system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs.iter().cloned());
        if added == 0 {
            let why = found.errors.first();
            let why = why.map_or("none found".to_owned(), ToString::to_string);
            return Err(TlsError::NoSystemAuthorities { why });
        }
        Ok(Self {
            roots: Arc::new(roots),
            certificates: found.certs.into(),
        })
    }

    /// Whether `certificate` is one of them, byte for byte.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|known| known == certificate)
    }
}

/// The operating system's text, without Rust's number after it.
fn plain_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_lowercase);
    first.chain(chars).collect()
}
