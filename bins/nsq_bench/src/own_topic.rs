//! A topic that a run made for itself, and deletes at its end.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use nsq_bench::options::Common;
use nsq_protocol::TopicName;

/// How long nsqd may take. It renames a folder and writes a small file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes `topic`, and so all that the run published.
///
/// # Errors
/// nsqd cannot be reached by HTTP, or does not delete it.
pub(crate) fn delete(common: &Common, topic: &TopicName) -> anyhow::Result<()> {
    let address = http_address(common)?;
    let status = post(&address, &format!("/topic/delete?topic={topic}"))
        .with_context(|| format!("cannot ask {address}, nsqd's HTTP address (--http-address)"))?;
    // A run that ended before its first message has no topic.
    if status == 200 || status == 404 {
        Ok(())
    } else {
        bail!("{address} answered {status}")
    }
}

/// Where the server answers HTTP: as told, else at the port after the TCP port, as nsqd's defaults are.
fn http_address(common: &Common) -> anyhow::Result<String> {
    if let Some(address) = &common.http_address {
        return Ok(address.clone());
    }
    let port = common.address.rsplit_once(':');
    let next =
        port.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?.checked_add(1)?)));
    let (host, port) = next.ok_or_else(|| anyhow!("{} has no port", common.address))?;
    Ok(format!("{host}:{port}"))
}

/// The status of the answer.
fn post(address: &str, path: &str) -> anyhow::Result<u16> {
    let socket = address.to_socket_addrs()?.next();
    let socket = socket.ok_or_else(|| anyhow!("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&socket, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| anyhow!("the answer is not HTTP"))
}

const MAX_ANSWER_BYTES: u64 = 64 << 10;
