//! The secret that the nodes of a cluster share.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use nsq_daemon::os_error;

/// The shortest secret, in bytes: what cannot be guessed.
const LEAST_BYTES: usize = 16;
/// The longest, in bytes: a larger file is most likely not meant.
const MOST_BYTES: usize = 4096;

/// The content of `--cluster-secret-file` without line ends after it. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret {
    bytes: Arc<[u8]>,
    /// Whether users other than the file's owner and group could read it.
    pub is_open_to_others: bool,
}

/// Why a file is no secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::settings) enum SecretError {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "must have at least {LEAST_BYTES} bytes, it has {0}: try head -c 32 /dev/urandom | base64"
    )]
    TooShort(usize),
    #[error("must have at most {MOST_BYTES} bytes")]
    TooLong,
}

impl ClusterSecret {
    pub(super) fn read(path: &str) -> Result<ClusterSecret, SecretError> {
        let unreadable = |error: io::Error| SecretError::Unreadable(os_error::plain_text(&error));
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut bytes = Vec::new();
        let limit = MOST_BYTES as u64 + 1;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() > MOST_BYTES {
            return Err(SecretError::TooLong);
        }
        // An editor and echo end the file with a line end, printf does not: they mean the same secret.
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        while bytes.pop_if(|byte| is_line_end(byte)).is_some() {}
        if bytes.len() < LEAST_BYTES {
            return Err(SecretError::TooShort(bytes.len()));
        }
        Ok(ClusterSecret {
            bytes: bytes.into(),
            is_open_to_others: mode & 0o004 != 0,
        })
    }

    /// The secret.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}
