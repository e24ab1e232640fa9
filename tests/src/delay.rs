//! A slow link: a proxy that hands on what it receives a little later, in both directions.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::start::free_port;

/// Starts a proxy on loopback that forwards to `to` with this delay in each direction, for as long as the process lives.
/// Returns its address.
///
/// # Panics
/// When it cannot listen.
pub(crate) fn delayed(to: SocketAddr, delay: Duration) -> SocketAddr {
    let address = free_port();
    let listener = TcpListener::bind(address).expect("the port is free");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A node that does not run refuses connections.
            let Ok(server) = TcpStream::connect(to) else {
                continue;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            for (from, to) in [(&client, &server), (&server, &client)] {
                if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                    pass_on(from, to, delay);
                }
            }
        }
    });
    address
}

/// Hands on what one side sends, each piece when it has been under way for `delay`.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(MOST_PIECES);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count) = from.read(&mut buffer) {
            let piece = buffer[..count].to_vec();
            if count == 0 || sender.send((Instant::now() + delay, piece)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

const PIECE_BYTES: usize = 64 << 10;
const MOST_PIECES: usize = 1024;
