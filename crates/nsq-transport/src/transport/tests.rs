//! Both ends of a connection, with every combination of layers.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::rustls::ProtocolVersion;

use super::*;
use crate::tls::test_authority::Authority;
use crate::tls::{Authorities, ClientCertificate, Identity, MinVersion, PemFile, Trust};

const COMPRESSIONS: [Option<Compression>; 4] = [
    None,
    Some(Compression::Snappy),
    Some(Compression::Deflate { level: 1 }),
    Some(Compression::Deflate { level: 6 }),
];

/// What both sides need for TLS, made once.
struct Ends {
    acceptor: Acceptor,
    connector: Connector,
}

impl Ends {
    fn new() -> Self {
        let authority = Authority::new();
        let files = authority.issue("127.0.0.1");
        let cert = PemFile::new("cert", &files.cert);
        let identity = Identity::load(&cert, &PemFile::new("key", &files.key));
        let identity = identity.unwrap().unwrap();
        let roots = Authorities::load(&PemFile::new("ca", &authority.file())).unwrap();
        let min = MinVersion::Tls12;
        Self {
            acceptor: Acceptor::new(identity.clone(), ClientCertificate::Any, min),
            connector: Connector::new(Trust::Authorities(roots), Some(identity), min),
        }
    }
}

/// A server's and a client's end over a pipe that holds `pipe` bytes each way.
async fn pair(
    tls: Option<&Ends>,
    compression: Option<Compression>,
    pipe: usize,
) -> (Transport<DuplexStream>, Transport<DuplexStream>) {
    let (server, client) = duplex(pipe);
    let mut server = Transport::plain(server);
    let mut client = Transport::plain(client);
    if let Some(ends) = tls {
        let (accepted, connected) = tokio::join!(
            server.accept_tls(&ends.acceptor, Vec::new()),
            client.connect_tls(&ends.connector, "127.0.0.1:1", Vec::new()),
        );
        accepted.unwrap();
        connected.unwrap();
    }
    if let Some(compression) = compression {
        server.compress(compression, Vec::new()).unwrap();
        client.compress(compression, Vec::new()).unwrap();
    }
    (server, client)
}

/// Sends `units`, each flushed, from `here`, and reads them `there` with reads of `read` bytes.
async fn send(
    here: &mut Transport<DuplexStream>,
    there: &mut Transport<DuplexStream>,
    units: &[Vec<u8>],
    read: usize,
) {
    let sending = async {
        for unit in units {
            here.write_all(unit).await.unwrap();
            here.flush().await.unwrap();
        }
    };
    let total: usize = units.iter().map(Vec::len).sum();
    let reading = async {
        let mut received = Vec::new();
        let mut buffer = vec![0; read];
        while received.len() < total {
            let count = there.read(&mut buffer).await.unwrap();
            assert!(count > 0, "an end after {} bytes", received.len());
            received.extend_from_slice(&buffer[..count]);
        }
        received
    };
    let ((), received) = tokio::join!(sending, reading);
    assert!(received == units.concat(), "other bytes than were sent");
}

fn compressible(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * at / 1000 % 7).unwrap() ^ seed)
        .collect()
}

#[tokio::test]
async fn every_combination_carries_large_and_small_units_both_ways() {
    let ends = Ends::new();
    for tls in [None, Some(&ends)] {
        for compression in COMPRESSIONS {
            let (mut server, mut client) = pair(tls, compression, 10_000).await;
            let units: Vec<_> = [1, 5, 100_000, 300_000, 2, 65_536]
                .map(|length| compressible(length, 3))
                .into();
            send(&mut client, &mut server, &units, 128 << 10).await;
            send(&mut server, &mut client, &units, 1000).await;
            server.release_memory();
            send(&mut server, &mut client, &units[..2], 1).await;
            assert_eq!(server.compression(), compression);
            let session = server.tls();
            assert_eq!(session.is_some(), tls.is_some());
            assert!(session.is_none_or(|it| it.version == u16::from(ProtocolVersion::TLSv1_3)));
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn how_reads_and_writes_are_cut_changes_nothing(
        sizes in prop::collection::vec(1_usize..30_000, 1..8),
        seed: u8,
        // The mark that ends a unit of deflate has to fit: the receiver does not read it once it has all bytes.
        pipe in 64_usize..5000,
        read in 1_usize..70_000,
        layers in 0..COMPRESSIONS.len(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let units: Vec<_> = sizes.iter().map(|size| compressible(*size, seed)).collect();
            let (mut here, mut there) = pair(None, COMPRESSIONS[layers], pipe).await;
            send(&mut here, &mut there, &units, read).await;
        });
    }
}

#[tokio::test]
async fn what_was_read_ahead_belongs_to_the_new_layer() {
    let ends = Ends::new();
    for compression in COMPRESSIONS.into_iter().flatten() {
        let (server, client) = duplex(10_000);
        let mut client = Transport::plain(client);
        client.compress(compression, Vec::new()).unwrap();
        client.write_all(b"early").await.unwrap();
        client.flush().await.unwrap();
        let mut server = Transport::plain(server);
        let mut ahead = vec![0; 5];
        server.read_exact(&mut ahead).await.unwrap();
        server.compress(compression, ahead).unwrap();
        let mut text = [0; 5];
        server.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"early");
    }
    let (server, client) = duplex(10_000);
    let (mut server, mut client) = (Transport::plain(server), Transport::plain(client));
    let accepting = async {
        let mut ahead = vec![0; 50];
        server.read_exact(&mut ahead).await.unwrap();
        server.accept_tls(&ends.acceptor, ahead).await
    };
    let connecting = client.connect_tls(&ends.connector, "127.0.0.1:1", Vec::new());
    let (accepted, connected) = tokio::join!(accepting, connecting);
    accepted.unwrap();
    connected.unwrap();
    assert_eq!(
        server.tls().unwrap().peer_common_name,
        "rcgen self signed cert"
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_in_a_chunk_is_an_error_and_between_two_an_end() {
    let mut packed = Vec::new();
    crate::snappy::Snappy::default().encode(b"hello, hello, hello, hello", &mut packed);
    for cut in 0..=packed.len() {
        let (server, mut client) = duplex(10_000);
        let mut server = Transport::plain(server);
        server.compress(Compression::Snappy, Vec::new()).unwrap();
        client.write_all(&packed[..cut]).await.unwrap();
        drop(client);
        let mut all = Vec::new();
        let outcome = server.read_to_end(&mut all).await;
        // Nothing, the identifier alone, or everything.
        let is_whole = [0, 10, packed.len()].contains(&cut);
        assert_eq!(outcome.is_ok(), is_whole, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_bomb_unfolds_only_as_far_as_is_read() {
    let mut bomb = Vec::new();
    let mut deflate = crate::deflate::Deflate::new(9);
    deflate.encode(&vec![0; 64 << 20], &mut bomb).unwrap();
    deflate.end_unit(&mut bomb).unwrap();
    assert!(bomb.len() < 100_000);
    let (server, client) = duplex(1);
    let mut server = Transport::plain(server);
    server
        .compress(Compression::Deflate { level: 6 }, bomb)
        .unwrap();
    let mut buffer = vec![1; 128 << 10];
    for _ in 0..512 {
        let count = server.read(&mut buffer).await.unwrap();
        assert!(count > 0 && buffer[..count].iter().all(|byte| *byte == 0));
    }
    drop(client);
}

#[tokio::test]
async fn layers_come_in_their_order_and_a_failed_handshake_leaves_the_stream() {
    let ends = Ends::new();
    let (server, mut client) = duplex(10_000);
    let mut server = Transport::plain(server);
    client.write_all(&[0x16; 100]).await.unwrap();
    assert!(server.accept_tls(&ends.acceptor, Vec::new()).await.is_err());
    server.write_all(b"refused").await.unwrap();
    let mut text = Vec::new();
    drop(server);
    client.read_to_end(&mut text).await.unwrap();
    assert!(text.ends_with(b"refused"));

    let (mut server, _client) = pair(None, Some(Compression::Snappy), 1000).await;
    let again = server.compress(Compression::Snappy, Vec::new());
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let late = server.accept_tls(&ends.acceptor, Vec::new()).await;
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(server.get_ref().is_some());
}
