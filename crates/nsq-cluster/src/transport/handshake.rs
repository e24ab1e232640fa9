//! The first bytes of a connection: who is calling whom, and proofs that both hold the cluster's secret.
//!
//! ```text
//! caller ─▶ hello: versions, length, protection, lane, cluster, own number, wanted number, nonce
//!        ◀─ welcome: version, protection, cluster, own number, nonce, proof; or a refusal in words
//! caller ─▶ proof
//!        ◀─ verdict: empty, or a refusal in words
//! ```
//! Proofs are made from the secret and everything that was said before, so they are worth nothing on another connection. Where
//! there is no secret they are zeros. What is wrong with cluster or number is said only to a caller that has proved itself.
//! Later versions may append to the hello: what this version does not know is skipped, and is part of the proofs.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::seal::{Seal, is_same, proof, random};
use super::{Introduction, Security};
use crate::NodeId;
use crate::codec::{DecodeError, Decoder};
use crate::identity::ClusterId;

const MAGIC: [u8; 8] = *b"nsqclust";
/// The oldest and the newest version of the protocol that this build speaks.
const OLDEST: u8 = 1;
const NEWEST: u8 = 1;
/// Magic, versions, and the length of the rest.
const HEAD_BYTES: usize = 8 + 2 + 2;
/// The rest, as this version has it.
const HELLO_BYTES: usize = 2 + 16 + 8 + 8 + 32;
const MAX_HELLO_BYTES: usize = 1024;
const WELCOME_BYTES: usize = 8 + 2 + 16 + 8 + 32 + 32;
const MAX_WORDS: usize = 1024;

/// Part of the answer to a node whose cluster went on without it.
pub const RECOVERED: &str = "was recovered without the caller";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Elections, entries and short questions.
    Quick,
    /// The files of checkpoints.
    Bulk,
}

/// Whom a caller wants to reach.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// `None` when any node will do.
    pub(crate) node: Option<NodeId>,
    pub(crate) lane: Lane,
}

/// The seals that both sides have agreed on.
pub(crate) struct Agreed {
    /// For frames to the other side.
    pub(crate) sending: Seal,
    /// For frames of the other side.
    pub(crate) receiving: Seal,
}

/// Who a caller says it is. It has proved that it holds the secret, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) cluster: Option<ClusterId>,
    node: Option<NodeId>,
    wanted: Option<NodeId>,
}

/// A caller that was let in.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) caller: Caller,
    pub(crate) agreed: Agreed,
}

impl Caller {
    /// Its number, if it is a member of the cluster that this node is a member of.
    pub(crate) fn member_of(self, own: Introduction) -> Option<NodeId> {
        let is_member = self.cluster.is_some() && self.cluster == own.cluster;
        self.node.filter(|_| is_member)
    }

    /// What is wrong with it. `former` are the clusters that the one of this node was recovered from.
    pub(crate) fn objection(self, own: Introduction, former: &[ClusterId]) -> Option<String> {
        if let (Some(theirs), Some(ours)) = (self.cluster, own.cluster)
            && theirs != ours
        {
            if former.contains(&theirs) {
                return Some(format!(
                    "the caller belongs to cluster {theirs}, which {RECOVERED} as cluster {ours}"
                ));
            }
            return Some(format!(
                "the caller belongs to cluster {theirs}, and the node here to cluster {ours}; is --cluster-peer right? If one of \
                 them was recovered with --cluster-recover, a node of the other one has to start with an empty --data-path"
            ));
        }
        if let Some(wanted) = self.wanted
            && own.node != Some(wanted)
        {
            let here = own
                .node
                .map_or("a node without a number".to_owned(), |node| {
                    format!("node {node}")
                });
            return Some(format!("node {wanted} is not here, but {here}"));
        }
        None
    }
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Agreed").finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// This side does not continue.
    #[error("{0}")]
    Refused(String),
    /// The other side does not continue.
    #[error("it refuses: {0}")]
    Told(String),
}

fn refused(why: impl Into<String>) -> HandshakeError {
    HandshakeError::Refused(why.into())
}

struct Hello {
    oldest: u8,
    newest: u8,
    protection: u8,
    lane: u8,
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
    wanted: Option<NodeId>,
    nonce: [u8; 32],
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[self.oldest, self.newest]);
        let length = u16::try_from(HELLO_BYTES).expect("a hello is short");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[self.protection, self.lane]);
        put_cluster(&mut bytes, self.cluster);
        put_node(&mut bytes, self.node);
        put_node(&mut bytes, self.wanted);
        bytes.extend_from_slice(&self.nonce);
        bytes
    }

    /// What follows the head. More may follow that.
    fn decode(oldest: u8, newest: u8, rest: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(Bytes::copy_from_slice(rest));
        Ok(Self {
            oldest,
            newest,
            protection: from.u8("a protection")?,
            lane: from.u8("a lane")?,
            cluster: cluster(&mut from)?,
            node: node(&mut from)?,
            wanted: node(&mut from)?,
            nonce: nonce(&mut from)?,
        })
    }

    fn caller(&self) -> Caller {
        Caller {
            cluster: self.cluster,
            node: self.node,
            wanted: self.wanted,
        }
    }
}

fn put_cluster(to: &mut Vec<u8>, cluster: Option<ClusterId>) {
    to.extend_from_slice(&cluster.unwrap_or(ClusterId::NONE).0.to_le_bytes());
}

fn put_node(to: &mut Vec<u8>, node: Option<NodeId>) {
    to.extend_from_slice(&node.unwrap_or_default().0.to_le_bytes());
}

fn cluster(from: &mut Decoder) -> Result<Option<ClusterId>, DecodeError> {
    let low = u128::from(from.u64("a cluster")?);
    let high = u128::from(from.u64("a cluster")?);
    let cluster = ClusterId(high << 64 | low);
    Ok((cluster != ClusterId::NONE).then_some(cluster))
}

fn node(from: &mut Decoder) -> Result<Option<NodeId>, DecodeError> {
    let node = NodeId(from.u64("a node")?);
    Ok((node != NodeId::default()).then_some(node))
}

fn nonce(from: &mut Decoder) -> Result<[u8; 32], DecodeError> {
    let bytes = from.take(32, "a nonce")?;
    Ok(<[u8; 32]>::try_from(&bytes[..]).expect("it has 32 bytes"))
}

fn protection_name(protection: u8) -> &'static str {
    match protection {
        0 => "no protection",
        1 => "--cluster-secret-file",
        2 => "--cluster-tls-cert",
        _ => "a protection that this version of nsqd does not know",
    }
}

fn proof_of(security: &Security, purpose: &str, transcript: &[u8]) -> [u8; 32] {
    match security {
        Security::Secret(secret) => proof(secret, purpose, transcript),
        Security::Loopback | Security::MutualTls { .. } => [0; 32],
    }
}

/// The seals of both directions, the caller's first.
fn seals(security: &Security, transcript: &[u8]) -> (Seal, Seal) {
    match security {
        Security::Secret(secret) => {
            let key = |purpose| Seal::with_key(&proof(secret, purpose, transcript));
            (key("key of the caller"), key("key of the called"))
        }
        Security::Loopback | Security::MutualTls { .. } => (Seal::Checksum, Seal::Checksum),
    }
}

const SPOKEN_HERE: &str = "and this node only version 1; nodes of a cluster are upgraded one after the other, without leaving out a version";
const WRONG_SECRET: &str = "the two nodes do not hold the same secret (--cluster-secret-file)";

/// Shakes hands as the caller. The caller of this bounds the time.
pub(crate) async fn call(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    security: &Security,
    own: Introduction,
    wanted: &Wanted,
) -> Result<Agreed, HandshakeError> {
    let hello = Hello {
        oldest: OLDEST,
        newest: NEWEST,
        protection: security.kind(),
        lane: u8::from(wanted.lane == Lane::Bulk),
        cluster: own.cluster,
        node: own.node,
        wanted: wanted.node,
        nonce: random()?,
    };
    let mut transcript = hello.encode();
    stream.write_all(&transcript).await?;
    stream.flush().await?;
    let mut welcome = [0; WELCOME_BYTES];
    let magic = read_magic(stream, &mut welcome).await;
    magic.map_err(|error| not_nsqd(&error))?;
    stream.read_exact(&mut welcome[8..10]).await?;
    let (version, protection) = (welcome[8], welcome[9]);
    if version == 0 {
        return Err(HandshakeError::Told(read_words(stream).await?));
    }
    if !(OLDEST..=NEWEST).contains(&version) {
        let why =
            format!("it answers in version {version} of the cluster's protocol, {SPOKEN_HERE}");
        return Err(refused(why));
    }
    if protection != security.kind() {
        return Err(refused(other_protection(protection, security)));
    }
    stream.read_exact(&mut welcome[10..]).await?;
    let (said, its_proof) = welcome.split_at(WELCOME_BYTES - 32);
    transcript.extend_from_slice(said);
    let its_proof: [u8; 32] = its_proof.try_into().expect("it has 32 bytes");
    let wanted_proof = proof_of(security, "proof of the called", &transcript);
    if !is_same(&its_proof, &wanted_proof) {
        // It learns of it too, and can say so in its log.
        let _ = stream.write_all(&[0; 32]).await;
        let _ = stream.flush().await;
        return Err(refused(WRONG_SECRET));
    }
    let own_proof = proof_of(security, "proof of the caller", &transcript);
    stream.write_all(&own_proof).await?;
    stream.flush().await?;
    let verdict = read_words(stream).await?;
    if !verdict.is_empty() {
        return Err(HandshakeError::Told(verdict));
    }
    let (sending, receiving) = seals(security, &transcript);
    Ok(Agreed { sending, receiving })
}

fn not_nsqd(error: &HandshakeError) -> HandshakeError {
    refused(format!("no nsqd of a cluster answers there: {error}"))
}

fn other_protection(protection: u8, security: &Security) -> String {
    format!(
        "it uses {}, and this node {}",
        protection_name(protection),
        protection_name(security.kind())
    )
}

/// Shakes hands as the one that is called. The caller of this bounds the time.
pub(crate) async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    security: &Security,
    own: Introduction,
    former: &[ClusterId],
) -> Result<Greeted, HandshakeError> {
    let mut transcript = vec![0; HEAD_BYTES];
    read_magic(stream, &mut transcript).await?;
    stream.read_exact(&mut transcript[MAGIC.len()..]).await?;
    let (oldest, newest) = (transcript[8], transcript[9]);
    let length = usize::from(u16::from_le_bytes([transcript[10], transcript[11]]));
    if length > MAX_HELLO_BYTES {
        return Err(refused("its greeting is too long"));
    }
    transcript.resize(HEAD_BYTES + length, 0);
    stream.read_exact(&mut transcript[HEAD_BYTES..]).await?;
    if newest < OLDEST || oldest > NEWEST {
        let why = format!(
            "the caller speaks versions {oldest} to {newest} of the cluster's protocol, {SPOKEN_HERE}"
        );
        return refuse(stream, security, why).await;
    }
    let hello = Hello::decode(oldest, newest, &transcript[HEAD_BYTES..]);
    let hello = hello.map_err(|error| refused(error.to_string()))?;
    let mut welcome = MAGIC.to_vec();
    welcome.extend_from_slice(&[newest.min(NEWEST), security.kind()]);
    put_cluster(&mut welcome, own.cluster);
    put_node(&mut welcome, own.node);
    welcome.extend_from_slice(&random::<32>()?);
    transcript.extend_from_slice(&welcome);
    welcome.extend_from_slice(&proof_of(security, "proof of the called", &transcript));
    stream.write_all(&welcome).await?;
    stream.flush().await?;
    if hello.protection != security.kind() {
        return Err(refused(other_protection(hello.protection, security)));
    }
    let mut its_proof = [0; 32];
    stream.read_exact(&mut its_proof).await?;
    let wanted_proof = proof_of(security, "proof of the caller", &transcript);
    let caller = hello.caller();
    let verdict = if is_same(&its_proof, &wanted_proof) {
        caller.objection(own, former)
    } else {
        Some(WRONG_SECRET.to_owned())
    };
    let mut answer = Vec::new();
    put_words(&mut answer, verdict.as_deref().unwrap_or_default());
    stream.write_all(&answer).await?;
    stream.flush().await?;
    if let Some(why) = verdict {
        return Err(refused(why));
    }
    let (receiving, sending) = seals(security, &transcript);
    let agreed = Agreed { sending, receiving };
    Ok(Greeted { caller, agreed })
}

/// Says in words why there is no welcome.
async fn refuse<T>(
    stream: &mut (impl AsyncWrite + Unpin),
    security: &Security,
    why: String,
) -> Result<T, HandshakeError> {
    let mut refusal = MAGIC.to_vec();
    refusal.extend_from_slice(&[0, security.kind()]);
    put_words(&mut refusal, &why);
    stream.write_all(&refusal).await?;
    stream.flush().await?;
    Err(refused(why))
}

/// Reads the first bytes of an nsqd to the front of `to`. Something else may say less than that, and still be recognized.
async fn read_magic(
    stream: &mut (impl AsyncRead + Unpin),
    to: &mut [u8],
) -> Result<(), HandshakeError> {
    let mut read = 0;
    while read < MAGIC.len() && to[..read] == MAGIC[..read] {
        match stream.read(&mut to[read..MAGIC.len()]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => read += more,
        }
    }
    if to[..read] == MAGIC[..read] {
        return Ok(());
    }
    // The next bytes say more, if they are not long in coming.
    if read < 2 {
        read += stream.read(&mut to[read..MAGIC.len()]).await?;
    }
    Err(refused(recognize(&to[..read])))
}

/// What something that is no nsqd of a cluster seems to be.
fn recognize(first: &[u8]) -> &'static str {
    match first {
        // An alert or a greeting of TLS.
        [0x15 | 0x16, 3, ..] => {
            "it speaks TLS, and this side does not (--cluster-tls-cert must be given to all nodes or to none)"
        }
        [b'H', b'T', b'T', b'P', ..] => "it is an HTTP server",
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'O', b'S', b'T', ..] => "it is an HTTP client",
        [b' ', b' ', b'V', ..] => "it is a client of NSQ, whose port is --tcp-address",
        _ => "it is no nsqd of a cluster",
    }
}

fn put_words(to: &mut Vec<u8>, words: &str) {
    let words = &words[..words.floor_char_boundary(MAX_WORDS)];
    let length = u16::try_from(words.len()).expect("words are few");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(words.as_bytes());
}

async fn read_words(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, HandshakeError> {
    let length = usize::from(stream.read_u16_le().await?);
    if length > MAX_WORDS {
        return Err(refused("it answers something else than an nsqd"));
    }
    let mut words = vec![0; length];
    stream.read_exact(&mut words).await?;
    // It is shown in a log.
    let words = String::from_utf8_lossy(&words);
    Ok(words.chars().filter(|char| !char.is_control()).collect())
}
