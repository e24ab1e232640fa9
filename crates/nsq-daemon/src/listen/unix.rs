//! Unix sockets, at a path or, as Go has it for a name that begins with `@`, in Linux's abstract namespace.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

use super::accept::Accept;
use super::{ListenError, Network};
use crate::os_error;

/// A unix socket that listens but is not served yet. Dropped, it takes its file with it.
#[derive(Debug)]
pub struct UnixBound {
    listener: StdListener,
    file: Option<SocketFile>,
    /// As given.
    pub path: String,
}

/// The listener of a [`UnixBound`] that is served.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    _file: Option<SocketFile>,
}

/// A socket's file. It is dropped after the listener, and then removed, unless someone else listens there.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// Binds and listens at `path`. Who may connect is a matter of the file's mode, which the process's umask leaves,
/// and of its folder's.
///
/// A file that a killed daemon left, so that no one answers there, is replaced.
///
/// # Errors
/// [`ListenError`] when the path is in use, too long, or not to be written to.
pub fn bind_unix(path: &str) -> Result<UnixBound, ListenError> {
    let failed = |why: String| ListenError {
        address: path.to_owned(),
        flag: None,
        network: Network::Unix,
        why,
    };
    if path.is_empty() {
        return Err(failed(": missing address".to_owned()));
    }
    let bound = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)
            .and_then(|address| StdListener::bind_addr(&address))
            .map(|listener| (listener, None)),
        None => bind_file(Path::new(path)).map(|(listener, file)| (listener, Some(file))),
    };
    let bound = bound.and_then(|(listener, file)| {
        listener.set_nonblocking(true)?;
        Ok((listener, file))
    });
    let (listener, file) = bound.map_err(|error| {
        // The standard library checks the length itself, in words of its own.
        let why = match error.kind() {
            io::ErrorKind::InvalidInput => "invalid argument".to_owned(),
            _ => os_error::plain_text(&error),
        };
        failed(format!(" {path}: bind: {why}"))
    })?;
    let path = path.to_owned();
    Ok(UnixBound {
        listener,
        file,
        path,
    })
}

fn bind_file(path: &Path) -> io::Result<(StdListener, SocketFile)> {
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
            std::fs::remove_file(path)?;
            StdListener::bind(path)?
        }
        outcome => outcome?,
    };
    Ok((listener, SocketFile(path.to_owned())))
}

/// Whether this is a socket that no one listens on.
fn is_left_over(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && StdStream::connect(path).is_err_and(refused)
}

impl UnixBound {
    /// Begins to serve. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The runtime's.
    pub fn into_listener(self) -> io::Result<UnixSocket> {
        Ok(UnixSocket {
            listener: UnixListener::from_std(self.listener)?,
            _file: self.file,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if is_left_over(&self.0) {
            // If it cannot be, the next start deals with it.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

impl Accept for UnixSocket {
    type Connection = UnixStream;
    /// As Go writes it: the path that the other end is bound to; `@`, and an abstract name, else.
    type Peer = String;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(UnixStream, String)>> {
        self.listener.poll_accept(context).map_ok(|(stream, peer)| {
            let peer = SocketAddr::from(peer);
            let name = match (peer.as_pathname(), peer.as_abstract_name()) {
                (Some(path), _) => path.to_string_lossy().into_owned(),
                (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
                (None, None) => "@".to_owned(),
            };
            (stream, name)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn path_in(folder: &tempfile::TempDir, name: &str) -> String {
        folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn error(path: &str) -> String {
        bind_unix(path).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_socket_is_there_while_it_is_served() {
        let folder = folder();
        let path = path_in(&folder, "s");
        let bound = bind_unix(&path).unwrap();
        let _waiting = StdStream::connect(&path).unwrap();
        let mut socket = bound.into_listener().unwrap();
        let (_, peer) = poll_fn(|cx| socket.poll_accept(cx)).await.unwrap();
        assert_eq!(peer, "@");
        drop(socket);
        assert!(!Path::new(&path).exists());
        drop(bind_unix(&path).unwrap());
        assert!(!Path::new(&path).exists());
    }

    #[tokio::test]
    async fn a_peer_is_shown_by_what_it_is_bound_to() {
        let folder = folder();
        let path = path_in(&folder, "s");
        let mut socket = bind_unix(&path).unwrap().into_listener().unwrap();
        let own = path_in(&folder, "own");
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let client = client.unwrap();
        client
            .bind(&socket2::SockAddr::unix(&own).unwrap())
            .unwrap();
        client
            .connect(&socket2::SockAddr::unix(&path).unwrap())
            .unwrap();
        let (_, peer) = poll_fn(|cx| socket.poll_accept(cx)).await.unwrap();
        assert_eq!(peer, own);
    }

    #[test]
    fn an_abstract_name_has_no_file() {
        let name = format!("@nsq-{}", std::process::id());
        let bound = bind_unix(&name).unwrap();
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        StdStream::connect_addr(&address).unwrap();
        assert!(!Path::new(&name).exists());
        assert!(error(&name).ends_with("bind: address already in use"));
        drop(bound);
        bind_unix(&name).unwrap();
    }

    #[test]
    fn what_is_in_use_stays_what_was_left_over_goes() {
        let folder = folder();
        let path = path_in(&folder, "s");
        let used = bind_unix(&path).unwrap();
        assert_eq!(
            error(&path),
            format!("listen ({path}) failed - listen unix {path}: bind: address already in use")
        );
        // As after a kill: the file without the listener.
        let UnixBound { listener, file, .. } = used;
        drop(listener);
        let successor = bind_unix(&path).unwrap();
        // What is there now is the successor's.
        drop(file);
        StdStream::connect(&path).unwrap();
        drop(successor);

        let text = path_in(&folder, "text");
        std::fs::write(&text, "keep").unwrap();
        assert!(error(&text).ends_with("bind: address already in use"));
        assert_eq!(std::fs::read_to_string(&text).unwrap(), "keep");
    }

    #[test]
    fn a_path_nothing_can_be_at_is_an_error() {
        let long = format!("/tmp/{}", "x".repeat(200));
        for (path, end) in [
            (long.as_str(), "bind: invalid argument"),
            ("/nowhere/s", "bind: no such file or directory"),
            ("", "listen unix: missing address"),
        ] {
            let error = error(path);
            assert!(
                error.starts_with(&format!("listen ({path}) failed - listen unix")),
                "{error}"
            );
            assert!(error.ends_with(end), "{error}");
        }
    }
}
