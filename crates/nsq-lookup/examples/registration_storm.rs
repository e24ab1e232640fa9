//! Measures a running nsqlookupd while a whole cluster registers at once, as after a restart of it.
//!
//! `registration_storm TCP_ADDRESS HTTP_ADDRESS NSQDS TOPICS [shared]`: so many nsqds register so many
//! topics each, with a channel, all at the same time; each has topics of its own unless they are shared.
//! Meanwhile one consumer asks `/lookup` all the time; its times are printed. Then the nsqds leave and
//! come again, and the same is measured once more. It waits at the end, so that the nsqlookupd's memory
//! can be looked at.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// As an nsqd of this suite sends them.
const BATCH: usize = 64;

#[tokio::main]
async fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tcp, http, nsqds, topics, rest @ ..] = &args[..] else {
        return Err(io::Error::other("see the head of this file"));
    };
    let (nsqds, topics) = (number(nsqds)?, number(topics)?);
    let is_shared = !rest.is_empty();
    for round in ["first", "second"] {
        let done = Arc::new(AtomicBool::new(false));
        // On a thread of its own, or it would measure its own wait for the thousand others.
        let asking = std::thread::spawn({
            let asking = ask(http.clone(), Arc::clone(&done));
            || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(asking)
            }
        });
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for nsqd in 0..nsqds {
            tasks.spawn(register(tcp.clone(), nsqd, topics, is_shared));
        }
        // Held open: the registrations last as long as the connections.
        let connections = tasks
            .join_all()
            .await
            .into_iter()
            .collect::<io::Result<Vec<_>>>()?;
        let took = started.elapsed();
        done.store(true, Ordering::Relaxed);
        let times = asking
            .join()
            .map_err(|_| io::Error::other("the asking thread panicked"))??;
        let at = |part: usize| times[(times.len() - 1) * part / 1000];
        writeln!(
            io::stdout(),
            "{round}: {} registrations in {took:?}; {} lookups: p50 {:?} p99 {:?} p99.9 {:?} max {:?}",
            nsqds * topics,
            times.len(),
            at(500),
            at(990),
            at(999),
            at(1000)
        )?;
        if round == "second" {
            writeln!(io::stdout(), "holding the connections for 20 s")?;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        drop(connections);
    }
    Ok(())
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}

async fn register(
    tcp: String,
    nsqd: usize,
    topics: usize,
    is_shared: bool,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(tcp).await?;
    stream.set_nodelay(true)?;
    let body = format!(
        r#"{{"broadcast_address":"nsqd-{nsqd}.example.com","hostname":"nsqd-{nsqd}","http_port":4151,"tcp_port":4150,"version":"1.3.0"}}"#
    );
    let size = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[b"  V1IDENTIFY\n", &size.to_be_bytes()[..], body.as_bytes()].concat())
        .await?;
    let size = stream.read_u32().await?;
    let mut introduction = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    stream.read_exact(&mut introduction).await?;
    let owner = if is_shared { 0 } else { nsqd };
    let mut answers = Vec::new();
    for batch in (0..topics).collect::<Vec<_>>().chunks(BATCH) {
        let mut lines = Vec::new();
        for topic in batch {
            writeln!(lines, "REGISTER service-{owner}.event-{topic} archive")?;
        }
        stream.write_all(&lines).await?;
        answers.resize(batch.len() * b"\0\0\0\x02OK".len(), 0);
        stream.read_exact(&mut answers).await?;
        if !answers.chunks(6).all(|answer| answer == b"\0\0\0\x02OK") {
            return Err(io::Error::other("refused"));
        }
    }
    Ok(stream)
}

/// Asks again and again on one connection; returns how long each answer took, ascending.
async fn ask(http: String, done: Arc<AtomicBool>) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(&http).await?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        stream
            .write_all(b"GET /lookup?topic=service-0.event-0 HTTP/1.1\r\nHost: x\r\n\r\n")
            .await?;
        let (mut head, mut body_bytes) = (Vec::new(), None);
        // The head says how much is to come.
        while body_bytes.is_none_or(|bytes| head.len() < bytes) {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&buffer[..read]);
            if body_bytes.is_none() {
                body_bytes = length(&head);
            }
        }
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort_unstable();
    Ok(times)
}

/// The length of a whole answer, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))?;
    Some(head.len() + 4 + line.parse::<usize>().ok()?)
}
