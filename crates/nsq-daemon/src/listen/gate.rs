//! Who is let in: how many connections there may be, in all and from one address, and that none takes the last file
//! handles.
//!
//! A connection is counted the moment it is accepted, before anything is kept for it; who is refused is told why, as
//! long as there are few of those.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::limits::OpenFiles;
use crate::options::LiveNumber;
use crate::refusals::{OPEN_FILES, Refusals};

/// Counts the connections of one kind, TCP or HTTP.
#[derive(Debug)]
pub struct Gate {
    bounds: Bounds,
    files: OpenFiles,
    refusals: Arc<Refusals>,
    open: Mutex<Open>,
    /// Refused ones that are still being told so.
    leaving_count: AtomicU64,
}

/// How many a [`Gate`] lets in.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The flag of `total`, for those who are refused.
    pub flag: &'static str,
    /// Connections at a time; 0 for as many as there are file handles.
    pub total: LiveNumber,
    /// Connections at a time from one IPv4 address or one IPv6 network of 64 bits, which is what one host has; 0 for
    /// no bound.
    pub per_address: LiveNumber,
    /// Whether a few may come in however few file handles are left: an operator must be able to delete a topic.
    pub is_for_operators: bool,
}

#[derive(Debug, Default)]
struct Open {
    total: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// A connection that was let in, until dropped.
#[derive(Debug)]
pub struct Admitted {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

/// Why a connection is refused. `Display` is what it is told, after a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There are as many as there may be.
    #[error("no more than {max} connections at a time (--{flag})")]
    Total {
        /// The flag of the bound.
        flag: &'static str,
        /// The bound.
        max: u64,
    },
    /// There are as many from this address as there may be.
    #[error("no more than {max} connections at a time from one address (--{PER_ADDRESS})")]
    PerAddress {
        /// The bound.
        max: u64,
    },
    /// The last file handles are kept for the logs.
    #[error(
        "too few file handles are left for more connections (the system's limit of open files)"
    )]
    OpenFiles,
}

/// The flag of [`Bounds::per_address`].
pub const PER_ADDRESS: &str = "max-connections-per-address";

impl Gate {
    /// One that no one has come through yet.
    pub fn new(bounds: Bounds, files: OpenFiles, refusals: Arc<Refusals>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            files,
            refusals,
            open: Mutex::default(),
            leaving_count: AtomicU64::new(0),
        })
    }

    /// One that lets everyone in.
    pub fn open_to_all() -> Arc<Self> {
        let bounds = Bounds {
            flag: "max-connections",
            total: LiveNumber::default(),
            per_address: LiveNumber::default(),
            is_for_operators: true,
        };
        Self::new(bounds, OpenFiles::of(u64::MAX), Arc::default())
    }

    /// Lets a connection of the file handle `socket` in, from `address` if it has one, or counts and logs that not.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        socket: RawFd,
        peer: impl fmt::Display,
    ) -> Result<Admitted, Denial> {
        let address = address.map(network_of);
        self.count(address, socket).map_err(|denial| {
            self.refusals.note(
                denial.limit(),
                format_args!("refused client({peer}) - {denial}"),
            );
            denial
        })?;
        Ok(Admitted {
            gate: Arc::clone(self),
            address,
        })
    }

    fn count(&self, address: Option<IpAddr>, socket: RawFd) -> Result<(), Denial> {
        let mut open = self.open();
        if let Some(max) = self.bounds.total.bound().filter(|max| open.total >= *max) {
            let flag = self.bounds.flag;
            return Err(Denial::Total { flag, max });
        }
        let reserve = self.files.reserve();
        let is_one_of_few = self.bounds.is_for_operators && open.total < (reserve / 4).max(1);
        if !is_one_of_few && !self.files.leaves(socket, reserve) {
            return Err(Denial::OpenFiles);
        }
        if let Some(address) = address {
            let count = open.by_address.get(&address).copied().unwrap_or(0);
            let bound = self.bounds.per_address.bound();
            if let Some(max) = bound.filter(|max| count >= *max) {
                return Err(Denial::PerAddress { max });
            }
            open.by_address.insert(address, count + 1);
        }
        open.total += 1;
        Ok(())
    }

    /// How many are inside.
    pub fn open_count(&self) -> u64 {
        self.open().total
    }

    /// Tells a refused connection `answer`, in a task of its own, and closes it; closes it at once when many are
    /// being told already. Must be called in a tokio runtime.
    pub fn turn_away<S>(self: &Arc<Self>, stream: S, answer: impl Into<Vec<u8>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let most = MOST_LEAVING.min(self.files.reserve() / 4);
        if self.leaving_count.fetch_add(1, Ordering::Relaxed) >= most {
            self.leaving_count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (gate, answer) = (Arc::clone(self), answer.into());
        tokio::spawn(async move {
            // A client that does not listen is none the wiser.
            let _ = timeout(LEAVING_LIMIT, tell(stream, &answer)).await;
            gate.leaving_count.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        open.total -= 1;
        if let Some(address) = self.address
            && let Some(count) = open.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
                let few = open.by_address.len() < open.by_address.capacity() / 8;
                if few {
                    open.by_address.shrink_to_fit();
                }
            }
        }
    }
}

impl Denial {
    /// The flag of the limit.
    pub fn limit(&self) -> &'static str {
        match self {
            Self::Total { flag, .. } => flag,
            Self::PerAddress { .. } => PER_ADDRESS,
            Self::OpenFiles => OPEN_FILES,
        }
    }
}

/// Closing with unread input would reset the connection, and the client might never see why.
async fn tell<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &[u8],
) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
    }
}

/// Refused connections that are told why at the same time, and for how long each; what a flood can make of them.
const MOST_LEAVING: u64 = 64;
const LEAVING_LIMIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(total: u64, per_address: u64, files: u64) -> Arc<Gate> {
        let bounds = Bounds {
            flag: "max-connections",
            total: LiveNumber::new(total),
            per_address: LiveNumber::new(per_address),
            is_for_operators: false,
        };
        Gate::new(bounds, OpenFiles::of(files), Arc::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn as_many_come_in_as_may_and_the_next_when_one_has_gone() {
        let gate = gate(2, 0, 1000);
        let first = gate.enter(Some(ip("1.2.3.4")), 5, "a").unwrap();
        let _second = gate.enter(None, 6, "b").unwrap();
        let denial = gate.enter(Some(ip("5.6.7.8")), 7, "c").unwrap_err();
        assert_eq!(
            denial.to_string(),
            "no more than 2 connections at a time (--max-connections)"
        );
        drop(first);
        gate.enter(Some(ip("5.6.7.8")), 7, "c").unwrap();
        assert_eq!(gate.open_count(), 1);
    }

    #[test]
    fn an_address_has_its_share_and_an_ipv6_host_is_a_network() {
        let gate = gate(0, 1, 1000);
        let v4 = gate.enter(Some(ip("1.2.3.4")), 5, "a").unwrap();
        assert_eq!(
            gate.enter(Some(ip("1.2.3.4")), 5, "a").unwrap_err(),
            Denial::PerAddress { max: 1 }
        );
        let _other = gate.enter(Some(ip("1.2.3.5")), 5, "a").unwrap();
        let _v6 = gate.enter(Some(ip("2001:db8::1")), 5, "a").unwrap();
        assert!(gate.enter(Some(ip("2001:db8::2")), 5, "a").is_err());
        let _far = gate.enter(Some(ip("2001:db8:0:1::1")), 5, "a").unwrap();
        drop(v4);
        assert_eq!(gate.open().by_address.len(), 3);
    }

    #[test]
    fn the_last_file_handles_are_for_others_but_a_few_operators() {
        let tcp = gate(0, 0, 100);
        assert!(tcp.enter(None, 89, "a").is_ok());
        assert_eq!(tcp.enter(None, 90, "a").unwrap_err(), Denial::OpenFiles);
        let bounds = Bounds {
            is_for_operators: true,
            ..tcp.bounds.clone()
        };
        let http = Gate::new(bounds, OpenFiles::of(100), Arc::default());
        let _first = http.enter(None, 98, "a").unwrap();
        let _second = http.enter(None, 99, "a").unwrap();
        assert_eq!(http.enter(None, 99, "a").unwrap_err(), Denial::OpenFiles);
    }

    #[tokio::test]
    async fn who_is_refused_is_told_and_a_flood_is_not() {
        let gate = gate(0, 0, 40);
        let (mut theirs, ours) = tokio::io::duplex(1024);
        theirs.write_all(b"  V2").await.unwrap();
        gate.turn_away(ours, *b"why");
        let (mut late, ours) = tokio::io::duplex(1024);
        let (_, second) = tokio::io::duplex(1024);
        gate.turn_away(second, *b"why");
        gate.turn_away(ours, *b"why");
        let mut answer = String::new();
        assert_eq!(late.read_to_string(&mut answer).await.unwrap(), 0);
        let mut answer = [0; 3];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"why");
    }
}
