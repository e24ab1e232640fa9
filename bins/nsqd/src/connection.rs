//! One client's connection: a single task that carries bytes between the client's stream and its
//! [`Session`](nsq_server::Session), which decides everything.
//!
//! It waits for five things at once: bytes, room to write, a wake from the session's channel or a sync, the answer to what
//! the session asked for, and the clock. Everything that is ready is written in as few writes as there are.

mod ending;
mod upgrade;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use nsq_core::{StoreError, Tick};
use nsq_daemon::os_error;
use nsq_protocol::{ChannelName, TopicName};
use nsq_server::{Grants, Next, Server, Session};
use nsq_transport::Transport;
use nsq_transport::tls::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::auth::{Applicant, AskError, Authorizer, Question};
use crate::client_table::Connected;
use crate::clock;
use crate::topics::TopicMaker;

/// The most that one read returns; each worker has one buffer of this size, shared by its connections.
const READ_BYTES: usize = 128 << 10;
/// The most that one read adds to a large command: what follows the command is moved to the front of the inbox.
const LARGE_READ_BYTES: usize = 512 << 10;
/// The most that is read of a client after nsqd has dismissed it: more than a socket holds, less than a publisher that never waits
/// can send.
const LAST_INPUT_BYTES: usize = 1 << 20;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What every connection needs.
pub(crate) struct Services {
    pub(crate) server: Arc<Server>,
    pub(crate) topics: TopicMaker,
    /// Accepts TLS; `None` without a certificate.
    pub(crate) acceptor: Option<Acceptor>,
    /// `None` where no client has to authenticate.
    pub(crate) authorizer: Option<Authorizer>,
}

/// Serves one client until it leaves, makes a mistake or is closed.
pub(crate) struct Connection<S> {
    stream: Transport<S>,
    session: Session,
    connected: Arc<Connected>,
    services: Arc<Services>,
    errand: Option<Errand>,
    timer: Pin<Box<Sleep>>,
    /// When the timer rings.
    rings_at: Tick,
    /// How much may still be read, once nsqd has dismissed the client.
    last_input: Option<usize>,
}

/// What the session asked for, under way.
enum Errand {
    Topic(Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>),
    Grants(Box<Question>),
}

/// What woke the connection.
enum Event {
    /// Bytes came and were dealt with.
    Input(Next),
    /// The client will send no more.
    EndOfInput,
    /// There may be messages to hand out.
    Deliver,
    /// A sync is over.
    Settled,
    /// The topic was made, or not.
    Topic(Result<(), StoreError>),
    /// An authorization server has answered, or none.
    Grants(Result<Grants, AskError>),
    Timer,
    /// nsqd is going down, and the client is to go.
    Dismissed,
    /// What a dismissed client had sent was read.
    LastInput,
    /// Closed by nsqd.
    Closed,
    /// The client's bytes cannot be read.
    ReadFailed(io::Error),
    /// The client takes no bytes.
    SendFailed(io::Error),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// What is left in the outbox is still sent.
    LastWords,
    AtOnce,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        stream: S,
        connected: Arc<Connected>,
        services: Arc<Services>,
    ) -> Connection<S> {
        let client = Arc::clone(&connected.client);
        let session = Session::new(Arc::clone(&services.server), client, clock::now());
        let rings_at = session.next_deadline();
        Connection {
            stream: Transport::plain(stream),
            session,
            connected,
            services,
            errand: None,
            timer: Box::pin(sleep_until(rings_at)),
            rings_at,
            last_input: None,
        }
    }

    /// Runs to the end of the connection; `gone` is called when it counts no longer.
    pub(crate) async fn run(mut self, gone: impl FnOnce()) {
        let ending = self.serve().await;
        self.session.leave();
        let says_something = ending == Ending::LastWords;
        // Boxed: it is rare, and the task of every connection would be larger for it.
        if says_something && self.last_input.is_some() {
            Box::pin(self.close_before_the_end()).await;
            gone();
            return;
        }
        gone();
        if says_something {
            Box::pin(self.close_gently()).await;
        }
    }

    async fn serve(&mut self) -> Ending {
        loop {
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            let mut next = match event {
                Event::Input(next) => next,
                Event::Deliver => Next::Wait,
                Event::Settled => self.session.handle_settled(clock::now()),
                Event::Topic(made) => self.session.handle_topic(made, clock::now()),
                Event::Grants(answer) => self.session.handle_grants(answer, clock::now()),
                Event::Timer => {
                    self.stream.release_memory();
                    self.session.handle_timeout(clock::now())
                }
                Event::Dismissed => {
                    self.last_input = Some(LAST_INPUT_BYTES);
                    self.session.dismiss();
                    // nsqd waits for no other server. The command that waits for one was not taken.
                    match self.errand.take() {
                        Some(_) => self.session.finish(),
                        None => Next::Wait,
                    }
                }
                Event::LastInput => self.session.finish(),
                Event::EndOfInput => self.session.handle_end_of_input(),
                Event::Closed => return Ending::AtOnce,
                Event::ReadFailed(error) => {
                    self.session.fail_reading(io_cause(&error));
                    return Ending::AtOnce;
                }
                Event::SendFailed(error) => {
                    self.session.fail_sending(io_cause(&error));
                    return Ending::AtOnce;
                }
            };
            let needs_server = matches!(next, Next::Ask | Next::CreateTopic { .. });
            if needs_server && self.last_input.is_some() {
                next = self.session.finish();
            }
            if let Next::Upgrade(agreed) = next {
                next = Box::pin(self.upgrade(agreed)).await;
            }
            match next {
                Next::Wait => {}
                Next::CreateTopic { topic, channel } => self.make_topic(topic, channel),
                Next::Ask => self.ask(),
                // A session asks for one upgrade at a time.
                Next::Upgrade(_) | Next::Drop => return Ending::AtOnce,
                Next::Close => return Ending::LastWords,
            }
            if self.session.wants_delivery() {
                self.session.deliver(clock::now());
            }
        }
    }

    /// Begins to make a topic, which takes as long as nsqlookupds take to answer.
    fn make_topic(&mut self, topic: TopicName, channel: Option<ChannelName>) {
        let topics = self.services.topics.clone();
        let made = async move {
            let made = topics.make(&topic, channel.as_ref()).await;
            made.map_err(StoreError::from)
        };
        self.errand = Some(Errand::Topic(Box::pin(made)));
    }

    /// Begins to ask what the client may do.
    fn ask(&mut self) {
        let Some(authorizer) = &self.services.authorizer else {
            return;
        };
        let tls = self.connected.tls.get();
        let question = authorizer.ask(Applicant {
            remote_ip: self.connected.client.remote_ip().to_owned(),
            tls: tls.is_some(),
            common_name: tls.map_or(String::new(), |tls| tls.peer_common_name.clone()),
            secret: self.session.secret().to_vec(),
        });
        self.errand = Some(Errand::Grants(Box::new(question)));
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let client = &self.connected.client;
        client.register(cx.waker());
        if client.is_closed() {
            return Poll::Ready(Event::Closed);
        }
        if client.is_dismissed() && self.last_input.is_none() {
            return Poll::Ready(Event::Dismissed);
        }
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Event::SendFailed(error));
        }
        if self.session.was_settled() {
            return Poll::Ready(Event::Settled);
        }
        self.session.handle_wake();
        if self.session.wants_delivery() {
            return Poll::Ready(Event::Deliver);
        }
        if self.errand.is_some() {
            if let Poll::Ready(event) = self.poll_errand(cx) {
                return Poll::Ready(event);
            }
        } else {
            let may_read = self.last_input != Some(0) && self.session.wants_input();
            if may_read && let Poll::Ready(event) = self.poll_input(cx) {
                return Poll::Ready(event);
            }
            if self.last_input.is_some() && self.session.is_between_commands() {
                return Poll::Ready(Event::LastInput);
            }
        }
        let deadline = self.session.next_deadline();
        if deadline != self.rings_at {
            self.rings_at = deadline;
            let deadline = clock::instant_of(deadline).into();
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    fn poll_errand(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let event = match &mut self.errand {
            None => return Poll::Pending,
            Some(Errand::Topic(made)) => Event::Topic(ready!(made.as_mut().poll(cx))),
            Some(Errand::Grants(question)) => {
                Event::Grants(ready!(Pin::new(question.as_mut()).poll(cx)))
            }
        };
        self.errand = None;
        Poll::Ready(event)
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(inbox) = self.session.large_input() {
            let mut inbox = inbox.limit(LARGE_READ_BYTES);
            let read = pin!(self.stream.read_buf(&mut inbox));
            return Poll::Ready(match ready!(read.poll(cx)) {
                Err(error) => Event::ReadFailed(error),
                Ok(0) => Event::EndOfInput,
                Ok(count) => {
                    count_last_input(&mut self.last_input, count);
                    Event::Input(self.session.handle_large_input(clock::now()))
                }
            });
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
            let bytes = read.filled();
            Poll::Ready(match outcome {
                Err(error) => Event::ReadFailed(error),
                Ok(()) if bytes.is_empty() => Event::EndOfInput,
                Ok(()) => {
                    count_last_input(&mut self.last_input, bytes.len());
                    Event::Input(self.session.handle_input(bytes, clock::now()))
                }
            })
        })
    }

    /// Sends all there is; ready when nothing is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outbox = self.session.outbox();
        while !outbox.unsent().is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, outbox.unsent());
            if written.is_pending() && !outbox.is_blocked() {
                outbox.handle_blocked(clock::tick());
            }
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.handle_sent(count);
        }
        // A compressing or encrypting stream holds bytes back until it is flushed; a socket has nothing to do here.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            outbox.handle_held_back(clock::tick());
        } else {
            outbox.handle_flushed();
        }
        flushed
    }

    async fn send_all(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx)).await
    }
}

fn count_last_input(last_input: &mut Option<usize>, count: usize) {
    if let Some(left) = last_input {
        *left = left.saturating_sub(count);
    }
}

fn sleep_until(at: Tick) -> Sleep {
    tokio::time::sleep_until(clock::instant_of(at).into())
}

/// An I/O error in Go's words.
fn io_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => "unexpected EOF".to_owned(),
        _ => os_error::plain_text(error),
    }
}
