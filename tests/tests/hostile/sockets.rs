//! Sockets with what the standard library does not set, and what hostile clients do with them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nsq_tests::{PATIENCE, wait_until};
use socket2::{Domain, Socket, Type};

/// A connection to `to` from another address of this host. All of 127.0.0.0/8 is loopback's.
#[track_caller]
pub(crate) fn connect_from(source: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket
        .bind(&source.into())
        .expect("loopback has many addresses");
    socket.connect(&to.into()).expect("somebody listens");
    resetting(socket)
}

/// A connection that, dropped, is reset: nothing of it is left to wait for.
#[track_caller]
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket.connect(&to.into()).expect("somebody listens");
    resetting(socket)
}

fn resetting(socket: Socket) -> TcpStream {
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("it can be set");
    socket.into()
}

/// A crowd of connections that each have sent these bytes and then stay as they are.
#[track_caller]
pub(crate) fn crowd(to: SocketAddr, size: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = connect(to);
        // Who is refused is sent away at once.
        let _ = stream.write_all(bytes);
        stream
    };
    (0..size).map(connect).collect()
}

/// Waits until the other side has closed every one of them.
#[track_caller]
pub(crate) fn wait_until_closed(crowd: &mut [TcpStream]) {
    for stream in crowd {
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("it can be set");
        wait_until("the connection is closed", PATIENCE, || {
            match stream.read(&mut [0; 4096]) {
                Ok(count) => count == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        });
    }
}

/// What a connection is sent until it is closed, after it sent these bytes.
#[track_caller]
pub(crate) fn all_that_is_said(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it can be set");
    // An answer may come, and the close, before all is sent.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    // A reset after the answer also ends it.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}
