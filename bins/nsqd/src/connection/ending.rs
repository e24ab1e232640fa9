//! The last words of a connection.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Connection;

/// How long a closing connection may take to deliver its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long nsqd waits for a publisher to close its side, too, when it goes down.
const LINGERING: Duration = Duration::from_millis(250);
/// Input thrown away while closing, so that the last words are not lost to a reset.
const LAST_INPUT: usize = 16 << 20;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Sends what is left, and takes in what the client is still sending: a close with unread input would reset the
    /// connection, and the client might never see why.
    pub(super) async fn close_gently(mut self) {
        let last_words = async {
            self.say_last_words().await?;
            self.take_last_input().await
        };
        // A client that is gone, or does not read, gets nothing.
        let _ = tokio::time::timeout(LAST_WORDS, pin!(last_words)).await;
    }

    /// The same before nsqd ends, which waits for it. Only a publisher's input is taken in: it may not see its answers without
    /// that.
    pub(super) async fn close_before_the_end(mut self) {
        let said = tokio::time::timeout(LAST_WORDS, self.say_last_words()).await;
        let has_published = !self.connected.client.details().published.is_empty();
        if has_published && matches!(said, Ok(Ok(()))) {
            let _ = tokio::time::timeout(LINGERING, self.take_last_input()).await;
        }
    }

    async fn say_last_words(&mut self) -> io::Result<()> {
        self.send_all().await?;
        self.stream.shutdown().await
    }

    async fn take_last_input(&mut self) -> io::Result<()> {
        let mut left = LAST_INPUT;
        let mut scratch = [0; 4096];
        while left > 0 {
            let count = self.stream.read(&mut scratch).await?;
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count);
        }
        Ok(())
    }
}
