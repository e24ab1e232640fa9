//! A connection to another node: requests out, answers in.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::frame::{Frame, FrameReader, encode};
use super::handshake::Agreed;
use super::outgoing::{Outgoing, Parcel, Place, write};
use super::{Shared, TransportLimits};
use crate::codec::{Answer, Request, Wire as _};
use crate::network::CallError;

/// A request that waits for its answer.
struct Waiting {
    answer: oneshot::Sender<Result<Answer, CallError>>,
    place: Place,
}

/// An open connection to another node.
pub(crate) struct Connection {
    outgoing: Outgoing,
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
    is_closed: AtomicBool,
    /// Whether it closes as soon as no request waits.
    is_retired: AtomicBool,
    closed: Notify,
    /// When the last answer arrived, or the first request after a time without any was sent.
    heard: Mutex<Instant>,
}

impl Connection {
    /// Begins to send and receive.
    pub(crate) fn start<S>(stream: S, agreed: Agreed, shared: &Arc<Shared>) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (outgoing, parcels) = Outgoing::new(shared.limits.max_waiting_bytes);
        let connection = Arc::new(Self {
            outgoing,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            closed: Notify::new(),
            heard: Mutex::new(Instant::now()),
        });
        let frame_reader =
            FrameReader::new(reader, agreed.receiving, shared.limits.max_frame_bytes);
        let run = run(
            Arc::clone(&connection),
            frame_reader,
            write(writer, agreed.sending, parcels),
            Arc::clone(shared),
        );
        tokio::spawn(run);
        connection
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Ends the connection. From now on it takes no more requests.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.notify_one();
    }

    /// Ends the connection once the requests that wait are answered.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.close_if_retired(&self.waiting());
    }

    fn close_if_retired(&self, waiting: &HashMap<u64, Waiting>) {
        if waiting.is_empty() && self.is_retired.load(Ordering::Acquire) {
            self.close();
        }
    }

    /// Sends a request, and waits for the answer.
    pub(crate) async fn call(
        &self,
        request: &Request,
        timeout: Option<Duration>,
        limits: &TransportLimits,
    ) -> Result<Answer, CallError> {
        // Before the request takes memory a second time.
        self.outgoing.check_room()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = encode(true, number, request);
        if frame.len() > limits.max_frame_bytes {
            let why = format!("a request of {} bytes is too large", frame.len());
            return Err(CallError::NotSent(why));
        }
        let (answer, receiver) = oneshot::channel();
        let place = Place::default();
        {
            let mut waiting = self.waiting();
            if self.is_closed() {
                return Err(CallError::NotSent(CLOSED.to_owned()));
            }
            if waiting.is_empty() {
                self.note_heard();
            }
            let place = place.clone();
            waiting.insert(number, Waiting { answer, place });
        }
        let forget = Forget {
            connection: self,
            number,
            place,
        };
        let parcel = Parcel::request(frame, forget.place.clone());
        self.outgoing.send(parcel)?;
        let answered = async {
            receiver
                .await
                .unwrap_or_else(|_| Err(CallError::Unreachable(BROKEN.to_owned())))
        };
        let Some(timeout) = timeout else {
            return answered.await;
        };
        let outcome = tokio::time::timeout(timeout, answered).await;
        outcome.unwrap_or_else(|_| {
            if self.silent_for() >= limits.silence {
                // Nothing gets through: a new connection may fare better than what this one repeats.
                self.close();
            }
            if forget.place.withdraw() {
                let why = format!("earlier requests were not sent within {timeout:?}");
                return Err(CallError::NotSent(why));
            }
            Err(CallError::TimedOut(timeout))
        })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    fn is_idle(&self) -> bool {
        self.waiting().is_empty()
    }

    fn take_answer(&self, frame: Frame) -> io::Result<()> {
        if frame.is_request {
            let why = "it sent a request where only answers are expected";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.note_heard();
        let answer = Answer::from_bytes(frame.body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let waiting = self.waiting().remove(&frame.number);
        if let Some(waiting) = waiting {
            // The caller may have given up.
            let _ = waiting.answer.send(Ok(answer));
        }
        Ok(())
    }

    fn end(&self, why: &str) {
        let waiting = {
            let mut waiting = self.waiting();
            self.is_closed.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for (_, Waiting { answer, place }) in waiting {
            let error = if place.withdraw() {
                CallError::NotSent(why.to_owned())
            } else {
                CallError::Unreachable(why.to_owned())
            };
            let _ = answer.send(Err(error));
        }
    }
}

pub(super) const BROKEN: &str = "the connection broke";
pub(super) const CLOSED: &str = "the connection is closed";

/// Takes a request out of those that wait, however waiting for it ends. If it was not sent yet, it never will be.
struct Forget<'a> {
    connection: &'a Connection,
    number: u64,
    place: Place,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.place.withdraw();
        let mut waiting = self.connection.waiting();
        waiting.remove(&self.number);
        self.connection.close_if_retired(&waiting);
    }
}

async fn run<R: AsyncRead + Unpin>(
    connection: Arc<Connection>,
    mut reader: FrameReader<R>,
    writing: impl Future<Output = io::Result<()>>,
    shared: Arc<Shared>,
) {
    let mut stopping = shared.stopping();
    let idle = shared.limits.idle;
    let reading = async {
        loop {
            match tokio::time::timeout(idle, reader.next()).await {
                Ok(Ok(Some(frame))) => connection.take_answer(frame)?,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) if connection.is_idle() => return Ok(()),
                Err(_) => {}
            }
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
        () = connection.closed.notified() => Ok(()),
        _ = stopping.wait_for(|is_stopping| *is_stopping) => Ok(()),
    };
    match ended {
        Ok(()) => connection.end(BROKEN),
        Err(error) => connection.end(&format!("{BROKEN}: {error}")),
    }
}
