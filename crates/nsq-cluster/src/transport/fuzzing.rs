//! Parts of a connection, for the fuzz bodies: streams that have all their bytes already.

use bytes::Bytes;

use super::frame::FrameReader;
use super::seal::Seal;
use super::{Introduction, Security, handshake};
use crate::NodeId;
use crate::identity::ClusterId;

/// The bodies of the frames of a stream, up to the first that is no frame.
pub(crate) async fn frames(stream: &[u8], max_bytes: usize) -> Vec<Bytes> {
    let mut reader = FrameReader::new(stream, Seal::Checksum, max_bytes);
    let mut bodies = Vec::new();
    while let Ok(Some(frame)) = reader.next().await {
        bodies.push(frame.body);
    }
    bodies
}

/// Whether a caller that sends these bytes is let in.
pub(crate) async fn handshake(stream: &[u8], has_secret: bool) -> bool {
    let security = if has_secret {
        Security::Secret(b"what a fuzzer cannot guess".to_vec())
    } else {
        Security::Loopback
    };
    let own = Introduction {
        cluster: Some(ClusterId(7)),
        node: Some(NodeId(2)),
    };
    let mut stream = tokio::io::join(stream, tokio::io::sink());
    let greeted = handshake::answer(&mut stream, &security, own, &[]).await;
    greeted.is_ok_and(|greeted| greeted.caller.objection(own, &[]).is_none())
}
