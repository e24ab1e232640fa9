//! Listeners as Go makes them, so that every client that could reach the old daemon reaches this one.
//!
//! A wildcard address (`0.0.0.0`, `[::]` or no host) takes IPv6 and IPv4 with one socket; the port
//! can be bound again at once after a crash; the backlog is 4096.

mod accept;
mod gate;
mod gates;
mod unix;

pub use self::accept::{Accept, accept_loop, remote_address};
pub use self::gate::{Admitted, Bounds, Denial, Gate, PER_ADDRESS};
pub use self::gates::Gates;
pub use self::unix::{UnixBound, UnixSocket, bind_unix};

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::os_error;

/// A bound socket that is not served yet. Once it listens, connections wait in its backlog; before, they are refused.
#[derive(Debug)]
pub struct Bound {
    /// The socket, non-blocking, ready for `tokio::net::TcpListener::from_std` once it listens.
    pub socket: TcpListener,
    /// Where it listens, with the actual port: `[::]:4150` for a wildcard.
    pub address: SocketAddr,
}

/// A bound socket of either kind.
#[derive(Debug)]
pub enum AnyBound {
    /// At `host:port`.
    Tcp(Bound),
    /// At a path.
    Unix(UnixBound),
}

/// An address nothing can listen on. `Display` is upstream's message, with the flag and what to do after it.
#[derive(Debug, thiserror::Error)]
#[error("listen ({address}) failed - listen {network}{why}{advice}", advice = Advice(self))]
pub struct ListenError {
    /// The address as given.
    pub address: String,
    flag: Option<&'static str>,
    network: Network,
    /// The rest of the message.
    why: String,
}

impl ListenError {
    /// Says by which flag, without dashes, the address was given.
    #[must_use]
    pub fn of_flag(self, flag: &'static str) -> Self {
        Self {
            flag: Some(flag),
            ..self
        }
    }
}

/// What an operator can do about a listener that failed.
struct Advice<'a>(&'a ListenError);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(flag) = self.0.flag else {
            return Ok(());
        };
        // The system's own texts, which end the message.
        let advice = [
            (
                "address already in use",
                "something listens there already: stop it, or give another address",
            ),
            (
                "permission denied",
                "this user may not listen there: give another address, or a port above 1023",
            ),
            (
                "cannot assign requested address",
                "must be an address of this machine",
            ),
        ];
        let advice = advice.iter().find(|(why, _)| self.0.why.ends_with(why));
        let advice = advice.map_or("must be an address to listen on, host:port", |known| {
            known.1
        });
        write!(f, " (--{flag}: {advice})")
    }
}

/// What a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Tcp,
    Unix,
}

/// Why a text is no `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// No colon where the port should begin.
    #[error("missing port in address")]
    MissingPort,
    /// An IPv6 address without brackets.
    #[error("too many colons in address")]
    TooManyColons,
    /// A bracket that does not enclose the host.
    #[error("misplaced bracket in address")]
    Bracket,
}

/// Takes `host:port`, `:port` or `[host]:port` apart; neither part is looked at any further.
///
/// # Errors
/// [`HostPortError`] in the cases in which Go's `net.SplitHostPort` has one.
pub fn split_host_port(address: &str) -> Result<(&str, &str), HostPortError> {
    let (before_port, port) = address.rsplit_once(':').ok_or(HostPortError::MissingPort)?;
    let host = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(HostPortError::Bracket)?;
            if rest.is_empty() || !rest.starts_with(':') {
                return Err(HostPortError::MissingPort);
            }
            if rest.len() != port.len() + 1 {
                return Err(HostPortError::TooManyColons);
            }
            host
        }
        None if before_port.contains(':') => return Err(HostPortError::TooManyColons),
        None => before_port,
    };
    if host.contains('[') || [host, port].iter().any(|part| part.contains(['[', ']'])) {
        return Err(HostPortError::Bracket);
    }
    Ok((host, port))
}

/// The opposite of [`split_host_port`]: an IPv6 address gets its brackets.
pub fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Whether upstream would take this address for the path of a unix socket: whatever is no
/// `host:port` is one.
///
/// Source: `TypeOfAddr`, nsq 1.3.0, internal/util/unix_socket.go.
pub fn is_unix_path(address: &str) -> bool {
    split_host_port(address).is_err()
}

/// Takes an address as upstream's nsqd does: `host:port` as [`reserve`], or else a path, which is listened on at once.
///
/// # Errors
/// [`ListenError`].
pub fn reserve_any(address: &str) -> Result<AnyBound, ListenError> {
    if is_unix_path(address) {
        bind_unix(address).map(AnyBound::Unix)
    } else {
        reserve(address).map(AnyBound::Tcp)
    }
}

/// Binds and listens on `host:port`; port 0 or none means any free one. A host name is looked up
/// here and now, its first IPv4 address preferred.
///
/// # Errors
/// [`ListenError`] when the address is malformed, unknown, taken or not this machine's.
pub fn bind(address: &str) -> Result<Bound, ListenError> {
    let bound = reserve(address)?;
    bound.listen()?;
    Ok(bound)
}

/// Binds `host:port` as [`bind`] does, and leaves it to [`Bound::listen`] to listen: until then connections are refused.
///
/// # Errors
/// [`ListenError`], as of [`bind`].
pub fn reserve(address: &str) -> Result<Bound, ListenError> {
    let failed = |why: String| not_listening(address, why);
    let (host, port) = split_host_port(address)
        .map_err(|error| failed(format!(": address {address}: {error}")))?;
    let port = match port {
        "" => 0,
        digits => digits
            .parse()
            .map_err(|_| failed(format!(": address {digits}: invalid port")))?,
    };
    let listening = |at: SocketAddr, error: &io::Error| {
        let why = os_error::plain_text(error);
        failed(format!(" {at}: bind: {why}"))
    };
    if is_wildcard(host) {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let only_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        return match bind_at(both) {
            // A kernel without IPv6 has no such socket or no such address.
            Err(error) if is_missing_ipv6(&error) => {
                bind_at(only_v4).map_err(|error| listening(only_v4, &error))
            }
            Err(error) => Err(listening(both, &error)),
            Ok(bound) => Ok(bound),
        };
    }
    let candidates: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed(format!(": lookup {host}: {}", os_error::plain_text(&error))))?
        .collect();
    let at = candidates
        .iter()
        .find(|candidate| candidate.is_ipv4())
        .or(candidates.first())
        .copied()
        .ok_or_else(|| failed(format!(": lookup {host}: no such host")))?;
    bind_at(at).map_err(|error| listening(at, &error))
}

fn not_listening(address: &str, why: String) -> ListenError {
    ListenError {
        address: address.to_owned(),
        flag: None,
        network: Network::Tcp,
        why,
    }
}

impl Bound {
    /// From now on connections wait to be accepted. Listening twice changes nothing.
    ///
    /// # Errors
    /// [`ListenError`] when another process has begun to listen there since the address was bound.
    pub fn listen(&self) -> Result<(), ListenError> {
        let listening = SockRef::from(&self.socket).listen(BACKLOG);
        listening.map_err(|error| {
            let (at, why) = (self.address, os_error::plain_text(&error));
            not_listening(&at.to_string(), format!(" {at}: listen: {why}"))
        })
    }
}

impl AnyBound {
    /// As [`Bound::listen`]; a path is listened on already.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self) -> Result<(), ListenError> {
        match self {
            Self::Tcp(bound) => bound.listen(),
            Self::Unix(_) => Ok(()),
        }
    }

    /// The TCP port; `None` at a path.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(bound) => Some(bound.address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        })
    }
}

fn is_wildcard(host: &str) -> bool {
    host.is_empty()
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
}

fn is_missing_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn bind_at(at: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    socket.bind(&at.into())?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from(socket);
    let address = socket.local_addr()?;
    Ok(Bound { socket, address })
}

/// Connections that may wait to be accepted: Go's number, which is Linux's own limit.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn addresses_come_apart_as_go_takes_them() {
        for (address, parts) in [
            ("127.0.0.1:80", ("127.0.0.1", "80")),
            ("test:80", ("test", "80")),
            (":80", ("", "80")),
            ("test:", ("test", "")),
            ("[::]:80", ("::", "80")),
            ("[::1%lo0]:80", ("::1%lo0", "80")),
            ("[]:80", ("", "80")),
        ] {
            assert_eq!(split_host_port(address), Ok(parts));
            assert!(!is_unix_path(address));
        }
        for (address, error) in [
            ("", HostPortError::MissingPort),
            ("test", HostPortError::MissingPort),
            ("/var/run/nsqd.sock", HostPortError::MissingPort),
            ("[::1]", HostPortError::MissingPort),
            ("[::1]x:80", HostPortError::MissingPort),
            ("::1:80", HostPortError::TooManyColons),
            ("[::1]:80:90", HostPortError::TooManyColons),
            ("[::1:80", HostPortError::Bracket),
            ("te]st:80", HostPortError::Bracket),
            ("test:[80]", HostPortError::Bracket),
        ] {
            assert_eq!(split_host_port(address), Err(error), "{address}");
            assert!(is_unix_path(address));
        }
    }

    #[test]
    fn a_wildcard_takes_both_families_on_one_port() {
        for address in ["0.0.0.0:0", ":0", "[::]:0"] {
            let bound = bind(address).unwrap();
            let port = bound.address.port();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            if bound.address.is_ipv6() {
                assert_eq!(bound.address.to_string(), format!("[::]:{port}"));
                TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
            }
        }
    }

    #[test]
    fn one_address_takes_its_own_family_alone() {
        let bound = bind("127.0.0.1:0").unwrap();
        assert_eq!(bound.address.ip(), Ipv4Addr::LOCALHOST);
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, bound.address.port())).is_err());
        assert_eq!(
            bind("localhost:0").unwrap().address.ip(),
            Ipv4Addr::LOCALHOST
        );
    }

    #[test]
    fn a_taken_port_is_told_with_its_address() {
        let first = bind("127.0.0.1:0").unwrap();
        let address = first.address.to_string();
        let error = bind(&address).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "listen ({address}) failed - listen tcp {address}: bind: address already in use"
            )
        );
    }

    #[test]
    fn a_reserved_port_is_taken_and_refuses_connections_until_it_listens() {
        let reserved = reserve("127.0.0.1:0").unwrap();
        assert!(TcpStream::connect(reserved.address).is_err());
        reserved.listen().unwrap();
        TcpStream::connect(reserved.address).unwrap();
        assert!(bind(&reserved.address.to_string()).is_err());
    }

    #[test]
    fn a_port_with_old_connections_can_be_bound_again() {
        let first = bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(first.address).unwrap();
        first.socket.set_nonblocking(false).unwrap();
        let (accepted, _) = first.socket.accept().unwrap();
        let address = first.address.to_string();
        // Our side closes first, so the port is left in TIME_WAIT.
        drop(accepted);
        drop(first);
        drop(client);
        bind(&address).unwrap();
    }

    #[test]
    fn a_malformed_address_is_an_error_not_a_panic() {
        for (address, end) in [
            (
                "nowhere",
                "listen tcp: address nowhere: missing port in address",
            ),
            ("127.0.0.1:70000", "listen tcp: address 70000: invalid port"),
            ("127.0.0.1:http", "listen tcp: address http: invalid port"),
        ] {
            let error = bind(address).unwrap_err().to_string();
            assert_eq!(error, format!("listen ({address}) failed - {end}"));
        }
    }
}
