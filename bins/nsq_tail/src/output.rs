//! Messages on stdout.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use nsq_tools::progress::Progress;
use tokio::io::{AsyncWriteExt as _, Stdout};
use tokio::sync::Mutex;

/// Stdout, shared by the topics: messages never mix within a line.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    inner: Arc<Mutex<Inner>>,
    prints_topic: bool,
}

#[derive(Debug)]
struct Inner {
    stdout: Stdout,
    lines: Vec<u8>,
    count: u64,
    /// On stderr, where stdout goes into a file or another program.
    progress: Option<Progress>,
}

impl Output {
    /// With the topic before each message, or without.
    pub(crate) fn new(prints_topic: bool) -> Self {
        let progress = (!io::stdout().is_terminal()).then(|| Progress::new("messages"));
        let inner = Inner {
            stdout: tokio::io::stdout(),
            lines: Vec::new(),
            count: 0,
            progress,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            prints_topic,
        }
    }

    /// Writes messages of a topic, each a line, and returns when they have been taken.
    pub(crate) async fn write<'a>(
        &self,
        topic: &str,
        bodies: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let mut inner = self.inner.lock().await;
        let Inner {
            stdout,
            lines,
            count,
            progress,
        } = &mut *inner;
        lines.clear();
        for body in bodies {
            append_line(lines, self.prints_topic.then_some(topic), body);
            *count += 1;
        }
        stdout.write_all(lines).await?;
        stdout.flush().await?;
        if let Some(progress) = progress {
            progress.show(*count);
        }
        Ok(())
    }

    /// Ends the progress line.
    pub(crate) async fn finish(&self) {
        let mut inner = self.inner.lock().await;
        let count = inner.count;
        if let Some(progress) = &mut inner.progress {
            progress.finish(count);
        }
    }
}

fn append_line(lines: &mut Vec<u8>, topic: Option<&str>, body: &[u8]) {
    if let Some(topic) = topic {
        lines.extend_from_slice(topic.as_bytes());
        lines.extend_from_slice(b" | ");
    }
    lines.extend_from_slice(body);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_body_with_the_topic_before_it_if_asked_for() {
        let mut lines = Vec::new();
        append_line(&mut lines, None, b"one");
        append_line(&mut lines, Some("t"), b"two\xff");
        assert_eq!(lines, b"one\nt | two\xff\n");
    }
}
