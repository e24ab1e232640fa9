//! Connections that other nodes make: requests in, answers out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::{Frame, FrameReader, encode};
use super::handshake::{self, Greeted};
use super::outgoing::{Outgoing, Parcel, write};
use super::refusals::RefusalLog;
use super::{Handler, Peer, Security, Shared};
use crate::GroupId;
use crate::codec::{Answer, Refusal, Request, Wire as _};
use crate::network::MAX_CHUNK_BYTES;

/// After the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STRANGER: &str = "the caller is no member of this cluster, and may only ask to become one";
/// A caller that is no member asks short questions.
const MAX_STRANGER_FRAME_BYTES: usize = 1 << 20;
/// What one permit of a semaphore stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Accepts connections until the transport stops.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, handler: Arc<dyn Handler>) {
    let limits = &shared.limits;
    let connections = Arc::new(Semaphore::new(limits.max_connections));
    let handshakes = Arc::new(Semaphore::new(limits.max_handshakes));
    let bytes = Arc::new(permits(limits.max_handled_bytes));
    let log = Arc::new(RefusalLog::default());
    let mut stopping = shared.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                log.note(None, &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let places = (
            Arc::clone(&connections).try_acquire_owned(),
            Arc::clone(&handshakes).try_acquire_owned(),
        );
        let (Ok(place), Ok(handshake)) = places else {
            log.note(Some(address), &"refused, there are too many others");
            continue;
        };
        let incoming = Incoming {
            address,
            shared: Arc::clone(&shared),
            handler: Arc::clone(&handler),
            log: Arc::clone(&log),
            bytes: Arc::clone(&bytes),
        };
        tokio::spawn(async move {
            incoming.serve(stream, handshake).await;
            drop(place);
        });
    }
}

/// What a request takes up until its answer has left.
pub(super) struct Room {
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _bytes_of_all: OwnedSemaphorePermit,
}

fn permits(bytes: usize) -> Semaphore {
    Semaphore::new((bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS))
}

/// Waits for this many bytes; a request that is larger than all of them waits for all.
async fn acquire(from: &Arc<Semaphore>, bytes: usize, all: usize) -> Option<OwnedSemaphorePermit> {
    let permits = bytes.min(all) / PERMIT_BYTES;
    let permits = u32::try_from(permits).unwrap_or(u32::MAX).max(1);
    Arc::clone(from).acquire_many_owned(permits).await.ok()
}

struct Incoming {
    address: SocketAddr,
    shared: Arc<Shared>,
    handler: Arc<dyn Handler>,
    log: Arc<RefusalLog>,
    /// For requests of all connections together.
    bytes: Arc<Semaphore>,
}

impl Incoming {
    async fn serve(self, stream: TcpStream, handshake: OwnedSemaphorePermit) {
        if let Err(error) = super::prepare(&stream) {
            return self.log.note(Some(self.address), &error);
        }
        match &self.shared.security {
            Security::MutualTls { acceptor, .. } => match acceptor.accept(stream).await {
                Ok(stream) => self.greet(stream, handshake).await,
                Err(error) => {
                    let why = format!("TLS: {error} (--cluster-tls-cert)");
                    self.log.note(Some(self.address), &why);
                }
            },
            Security::Loopback | Security::Secret(_) => self.greet(stream, handshake).await,
        }
    }

    async fn greet<S>(&self, mut stream: S, handshake: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let own = self.shared.introduction();
        let limit = self.shared.limits.handshake_timeout;
        let greeting =
            handshake::answer(&mut stream, &self.shared.security, own, &self.shared.former);
        let greeted = match tokio::time::timeout(limit, greeting).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return self.log.note(Some(self.address), &error),
            Err(_) => {
                let why = format!("no handshake within {limit:?}");
                return self.log.note(Some(self.address), &why);
            }
        };
        drop(handshake);
        if let Some(node) = greeted.caller.member_of(own) {
            self.shared.note_caller(node);
        }
        if let Err(error) = self.exchange(stream, greeted).await {
            self.log.note(Some(self.address), &error);
        }
    }

    /// Answers requests until the connection ends.
    async fn exchange<S>(&self, stream: S, greeted: Greeted) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = &self.shared.limits;
        let (reader, writer) = tokio::io::split(stream);
        // Answers are limited by the requests that may be under way.
        let (outgoing, parcels) = Outgoing::new(usize::MAX);
        let Greeted { caller, agreed } = greeted;
        let max_bytes = if caller.cluster.is_some() {
            limits.max_frame_bytes
        } else {
            limits.max_frame_bytes.min(MAX_STRANGER_FRAME_BYTES)
        };
        let mut reader = FrameReader::new(reader, agreed.receiving, max_bytes);
        let requests = Arc::new(Semaphore::new(limits.max_requests));
        let bytes = Arc::new(permits(limits.max_connection_bytes));
        // Twice as long as the other side keeps a connection that it does not use.
        let idle = limits.idle * 2;
        let reading = async {
            loop {
                let count = Arc::clone(&requests).acquire_owned().await;
                let Ok(count) = count else { return Ok(()) };
                let frame = match tokio::time::timeout(idle, reader.next()).await {
                    Ok(frame) => frame?,
                    // One permit is this loop's own.
                    Err(_) if requests.available_permits() + 1 < limits.max_requests => continue,
                    Err(_) => return Ok(()),
                };
                let Some(frame) = frame else { return Ok(()) };
                // Who the caller is for this node changes when this node becomes a member.
                let own = self.shared.introduction();
                if let Some(why) = caller.objection(own, &self.shared.former) {
                    return Err(io::Error::other(why));
                }
                let peer = Peer {
                    node: caller.member_of(own),
                    address: self.address,
                };
                let number = frame.number;
                let size = frame.body.len();
                let request = decode(frame)?;
                let size = size + answer_bytes(&request);
                let room = (
                    acquire(&bytes, size, limits.max_connection_bytes).await,
                    acquire(&self.bytes, size, limits.max_handled_bytes).await,
                );
                let (Some(bytes), Some(bytes_of_all)) = room else {
                    return Ok(());
                };
                let room = Room {
                    _count: count,
                    _bytes: bytes,
                    _bytes_of_all: bytes_of_all,
                };
                self.answer(number, request, peer, &outgoing, room);
            }
        };
        let mut stopping = self.shared.stopping();
        tokio::select! {
            ended = reading => ended,
            ended = write(writer, agreed.sending, parcels) => ended,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => Ok(()),
        }
    }

    /// Begins to answer a request. It is begun before the next one, and may be answered after it.
    fn answer(&self, number: u64, request: Request, peer: Peer, outgoing: &Outgoing, room: Room) {
        let reply = move |outgoing: &Outgoing, answer: &Answer, room| {
            // The connection may have ended.
            let _ = outgoing.send(Parcel::answer(encode(false, number, answer), room));
        };
        if peer.node.is_none() && !is_for_strangers(&request) {
            let refusal = Answer::Refused(Refusal::Failed(STRANGER.to_owned()));
            return reply(outgoing, &refusal, room);
        }
        let mut answering = self.handler.handle(peer, request);
        // Entries that reached Raft in another order would cost a round trip.
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut answering).poll(&mut context) {
            Poll::Ready(answer) => reply(outgoing, &answer, room),
            Poll::Pending => {
                let outgoing = outgoing.clone();
                // It continues when the connection breaks: what it began, such as storing something, is to be completed.
                tokio::spawn(async move {
                    let answer = answering.await;
                    reply(&outgoing, &answer, room);
                });
            }
        }
    }
}

fn decode(frame: Frame) -> io::Result<Request> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if !frame.is_request {
        let why = "it sent an answer where only requests are expected";
        return Err(invalid(why.to_owned()));
    }
    Request::from_bytes(frame.body).map_err(|error| invalid(error.to_string()))
}

/// Bytes that the answer to a request may take, if they are many.
fn answer_bytes(request: &Request) -> usize {
    match request {
        Request::Chunk { bytes, .. } => (*bytes).min(MAX_CHUNK_BYTES) as usize,
        _ => 0,
    }
}

fn is_for_strangers(request: &Request) -> bool {
    matches!(
        request,
        Request::Call {
            group: GroupId::DIRECTORY,
            ..
        }
    )
}
