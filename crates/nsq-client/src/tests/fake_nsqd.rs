//! An nsqd whose every word the test says.

use nsq_protocol::MessageId;
use nsq_protocol::frame::{write_message, write_response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

pub(super) struct FakeNsqd(TcpListener);

/// A client's connection to it.
pub(super) struct Client(BufReader<TcpStream>);

impl FakeNsqd {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// A client that has said its magic.
    pub(super) async fn accept(&self) -> Client {
        let (tcp, _) = timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        let mut client = Client(BufReader::new(tcp));
        let mut magic = [0; 4];
        client.0.read_exact(&mut magic).await.unwrap();
        assert_eq!(&magic, b"  V2");
        client
    }

    /// A client that has identified itself.
    pub(super) async fn identified(&self) -> Client {
        let mut client = self.accept().await;
        client.expect("IDENTIFY").await;
        client.respond(r#"{"max_rdy_count":2500}"#).await;
        client
    }

    /// A client that has subscribed.
    pub(super) async fn subscribed(&self) -> Client {
        let mut client = self.identified().await;
        client.expect("SUB t c").await;
        client.respond("OK").await;
        client
    }
}

impl Client {
    /// The next command's line, and its body.
    pub(super) async fn command(&mut self) -> (String, Vec<u8>) {
        timeout(PATIENCE, async {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).await.unwrap();
            assert_eq!(line.pop(), Some(b'\n'), "the connection ended");
            let line = String::from_utf8(line).unwrap();
            let name = line.split(' ').next().unwrap();
            let mut body = Vec::new();
            if matches!(name, "IDENTIFY" | "AUTH" | "PUB" | "MPUB" | "DPUB") {
                let size = self.0.read_u32().await.unwrap();
                body.resize(usize::try_from(size).unwrap(), 0);
                self.0.read_exact(&mut body).await.unwrap();
            }
            (line, body)
        })
        .await
        .expect("a command comes")
    }

    /// Reads a command with this line, and returns its body.
    #[track_caller]
    pub(super) fn expect(&mut self, expected: &str) -> impl Future<Output = Vec<u8>> {
        let at = std::panic::Location::caller();
        async move {
            let (line, body) = self.command().await;
            assert_eq!(line, expected, "at {at}");
            body
        }
    }

    /// Reads until the client closes.
    pub(super) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        timeout(PATIENCE, read).await.expect("it ends").unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    pub(super) async fn respond(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_response(&mut frame, text.as_bytes());
        self.send(&frame).await;
    }

    pub(super) async fn refuse(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_response(&mut frame, text.as_bytes());
        // The type's last byte makes an error of it.
        frame[7] = 1;
        self.send(&frame).await;
    }

    /// Messages that have this number, and that many attempts; their body is their number.
    pub(super) async fn deliver(&mut self, ids: impl IntoIterator<Item = u64>, attempts: u16) {
        let mut frames = Vec::new();
        for id in ids {
            let body = id.to_string();
            write_message(
                &mut frames,
                0,
                attempts,
                MessageId::from_u64(id),
                body.as_bytes(),
            );
        }
        self.send(&frames).await;
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }
}
