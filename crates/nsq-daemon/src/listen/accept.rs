//! Taking connections off a listener, through bad moments as well.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::os_error;

/// What connections come from: a listener, or a script in a test.
pub trait Accept {
    /// A connection.
    type Connection;

    /// Whose it is, as it is logged and shown.
    type Peer;

    /// Takes the next connection and whose it is.
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Self::Peer)>>;
}

impl Accept for TcpListener {
    type Connection = TcpStream;
    type Peer = SocketAddr;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        TcpListener::poll_accept(self, context).map_ok(|(stream, address)| {
            tune(&stream);
            (stream, remote_address(address))
        })
    }
}

/// Small answers leave at once, and a peer that vanished without a word is noticed. A socket that
/// takes neither option, such as one reset already, still works.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    let _ = socket.set_tcp_keepalive(&keep_alive);
}

/// Hands each connection, with whose it is, to `serve` until `shutdown` is ready. The
/// listener closes on return.
///
/// Some errors may not come again (too many open files, a connection that was reset before it was
/// accepted). They are logged, and the next attempt waits, longer each time, so that a daemon at
/// its limit neither ends nor spins.
///
/// # Errors
/// The error of a listener that can accept no more, ever.
pub async fn accept_loop<A: Accept>(
    mut listener: A,
    shutdown: impl Future<Output = ()>,
    mut serve: impl FnMut(A::Connection, A::Peer),
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            accepted = poll_fn(|context| listener.poll_accept(context)) => accepted,
        };
        match accepted {
            Ok((connection, address)) => {
                pause = FIRST_PAUSE;
                serve(connection, address);
            }
            Err(error) if is_lasting(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(
                    "temporary Accept() failure - {}",
                    os_error::plain_text(&error)
                );
                tokio::select! {
                    biased;
                    () = &mut shutdown => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether an error is the listener's own. Linux also returns what went wrong with the incoming
/// connection, so all others are one connection's bad luck or a shortage.
fn is_lasting(error: &io::Error) -> bool {
    [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A peer's address as it is logged and shown: an IPv4 peer of an IPv6 socket is a dotted quad.
pub fn remote_address(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Go's default for accepted connections, for the first probe and between probes.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    /// Answers from a list, then has nothing more to say.
    struct Script(VecDeque<io::Result<u32>>);

    impl Accept for Script {
        type Connection = u32;
        type Peer = SocketAddr;

        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<(u32, SocketAddr)>> {
            match self.0.pop_front() {
                Some(answer) => Poll::Ready(answer.map(|number| (number, ANYWHERE))),
                None => Poll::Pending,
            }
        }
    }

    const ANYWHERE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn failing(errno: Errno) -> io::Result<u32> {
        Err(io::Error::from(errno))
    }

    #[tokio::test(start_paused = true)]
    async fn shortages_are_waited_out_with_growing_pauses_that_a_success_resets() {
        let mut script: VecDeque<_> = (0..10).map(|_| failing(Errno::MFILE)).collect();
        script.push_back(Ok(1));
        script.push_back(failing(Errno::CONNABORTED));
        script.push_back(Ok(2));
        let start = Instant::now();
        let mut served = Vec::new();
        let end = tokio::time::sleep(Duration::from_mins(1));
        accept_loop(Script(script), end, |number, _| {
            served.push((number, start.elapsed().as_millis()));
        })
        .await
        .unwrap();
        // 5 + 10 + ... + 640 is 1275 ms, then two pauses of a second; then 5 ms once more.
        assert_eq!(served, [(1, 3275), (2, 3280)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_listener_ends_the_loop_with_its_error() {
        let script = VecDeque::from([Ok(1), failing(Errno::INVAL), Ok(2)]);
        let mut served = Vec::new();
        let error = accept_loop(Script(script), pending(), |number, _| served.push(number))
            .await
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        assert_eq!(served, [1]);
    }

    #[tokio::test]
    async fn accepted_sockets_are_tuned_and_their_peers_shown_as_ipv4() {
        let bound = crate::listen::bind(":0").unwrap();
        let port = bound.address.port();
        let listener = TcpListener::from_std(bound.socket).unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let mut sender = Some(sender);
        let mut accepted = None;
        let end = async { receiver.await.unwrap_or(()) };
        accept_loop(listener, end, |stream, address| {
            accepted = Some((stream, address));
            sender.take();
        })
        .await
        .unwrap();
        let (stream, address) = accepted.unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE);
    }

    #[test]
    fn only_mapped_addresses_change() {
        for (address, shown) in [
            ("[::ffff:10.1.2.3]:5", "10.1.2.3:5"),
            ("[::1]:5", "[::1]:5"),
            ("10.1.2.3:5", "10.1.2.3:5"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(remote_address(address).to_string(), shown);
        }
    }
}
