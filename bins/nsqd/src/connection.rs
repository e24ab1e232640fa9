//! One client's connection: a single task that reads commands, applies them in batches, hands out messages and writes
//! everything back in as few writes as there are.
//!
//! It waits for four things at once: bytes, room to write, a wake from its channel, and the clock. While the client
//! does not read, commands are still taken (a FIN needs no answer) until [`OUTBOX_LIMIT`] bytes wait for it; messages
//! are not, so a slow client costs bounded memory and delays nobody.

mod authorization;
mod commands;
mod outbox;
mod subscription;
mod upgrade;

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nsq_core::{StoreError, Topic, Wakes};
use nsq_daemon::go_duration::GoDuration;
use nsq_protocol::identify::{ClientSettings, Negotiation};
use nsq_protocol::{ClientState, CommandError, Decoder, TopicName, frame};
use nsq_transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::admission::FIRST_COMMAND_TIMEOUT;
use crate::client::Client;
use crate::nsqd::Nsqd;
use crate::settings::TlsRequired;
use authorization::Authorization;
use outbox::Outbox;
pub(crate) use subscription::Subscription;
use upgrade::Upgrade;

/// What one read may bring; each worker has one buffer of this size, shared by its connections.
const READ_BYTES: usize = 128 << 10;
/// Above this many bytes waiting for the client no more commands are read from it.
const OUTBOX_LIMIT: usize = 256 << 10;
/// Above this many bytes waiting no more messages are taken for the client.
const DELIVERY_LIMIT: usize = 64 << 10;
/// What a connection keeps of its inbox, from one large command to the next.
const KEPT_INBOX_BYTES: usize = 256 << 10;
/// From a deadline to the last look for what a client has said.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// How long a closing connection may take to deliver its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Input thrown away while closing, so that the last words are not lost to a reset.
const LAST_INPUT: usize = 16 << 20;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Serves one client until it leaves, errs or is closed.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Connection<S> {
    stream: Transport<S>,
    nsqd: Arc<Nsqd>,
    client: Arc<Client>,
    state: ClientState,
    /// TLS is required, and not there yet.
    tls_missing: bool,
    has_magic: bool,
    decoder: Decoder,
    /// The beginning of a command whose end has not come yet.
    inbox: Vec<u8>,
    outbox: Outbox,
    /// As the last IDENTIFY left it.
    settings: ClientSettings,
    /// As the first IDENTIFY left it: what deliveries go by.
    delivery_settings: ClientSettings,
    is_identified: bool,
    subscription: Option<Subscription>,
    /// From AUTH on.
    authorization: Option<Box<Authorization>>,
    /// The topic published to last: most clients have just one.
    last_topic: Option<Arc<Topic>>,
    /// Topics with messages that wait for a sync before their `OK` may go out.
    unsynced: Vec<Arc<Topic>>,
    /// Where the answers of the last batch of commands begin in the outbox.
    batch_mark: usize,
    /// There may be messages for the client.
    wants_delivery: bool,
    timer: Pin<Box<Sleep>>,
    next_heartbeat: Instant,
    /// When the last whole command had been read.
    last_command: Instant,
    /// By when there must be a first one; `None` once there was.
    first_command_deadline: Option<Instant>,
    /// Whether a deadline had passed when the timer rang last.
    is_overdue: bool,
}

/// What woke the connection.
enum Event {
    /// Bytes came and were dealt with.
    Input(Next),
    /// The client will send no more.
    EndOfInput,
    /// There may be messages to hand out.
    Deliver,
    Timer,
    /// Closed from either side, or broken.
    Gone,
}

/// How to go on after a batch of commands.
#[derive(Debug)]
pub(crate) enum Next {
    /// Wait for more.
    Wait,
    /// The same bytes again: the connection's shape has changed.
    Again,
    /// A topic has to be made first.
    CreateTopic(TopicName),
    /// Put layers on the stream.
    Upgrade(Negotiation),
    /// The same command again, when an authorization server has been asked.
    AskFirst,
    /// The command after this one, when an authorization server has been asked.
    Answered,
    /// The answer to a fatal error is in the outbox.
    Close,
    /// Close without a word.
    Drop,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S, client: Arc<Client>, nsqd: Arc<Nsqd>) -> Connection<S> {
        let settings = ClientSettings::defaults(&nsqd.identify_limits);
        let now = Instant::now();
        let next_heartbeat = settings
            .heartbeat_interval
            .map_or_else(|| far_from(now), |interval| now + interval);
        let patience = nsqd.settings.first_command_timeout;
        let first_command_deadline = (!patience.is_zero()).then(|| now + patience);
        let timer = first_command_deadline.map_or(next_heartbeat, |at| at.min(next_heartbeat));
        Connection {
            stream: Transport::plain(stream),
            client,
            state: ClientState::Init,
            tls_missing: nsqd.settings.tls_required != TlsRequired::No,
            has_magic: false,
            decoder: Decoder::new(),
            inbox: Vec::new(),
            outbox: Outbox::default(),
            delivery_settings: settings.clone(),
            settings,
            is_identified: false,
            subscription: None,
            authorization: None,
            last_topic: None,
            unsynced: Vec::new(),
            batch_mark: 0,
            wants_delivery: false,
            timer: Box::pin(tokio::time::sleep_until(timer)),
            next_heartbeat,
            last_command: now,
            first_command_deadline,
            is_overdue: false,
            nsqd,
        }
    }

    /// Runs to the end of the connection.
    pub(crate) async fn run(mut self) {
        let has_last_words = self.serve().await;
        if let Some(subscription) = self.subscription.take() {
            self.nsqd.leave(&self.client, &subscription);
        }
        self.client.details().channel = None;
        self.nsqd.remove_client(&self.client);
        tracing::info!(
            "PROTOCOL(V2): [{}] exiting ioloop",
            self.client.remote_address
        );
        if has_last_words {
            // Boxed: it is rare, and the task of every connection would be larger for it.
            Box::pin(self.close_gently()).await;
        }
    }

    /// Whether what is left in the outbox should still be sent.
    async fn serve(&mut self) -> bool {
        loop {
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            let mut next = match event {
                Event::Input(next) => next,
                Event::Deliver => {
                    self.wants_delivery = true;
                    Next::Wait
                }
                Event::Timer if self.is_first_time_overdue() => Next::Wait,
                Event::Timer => {
                    if self.is_first_command_late() {
                        return true;
                    }
                    if !self.handle_timer() {
                        return false;
                    }
                    Next::Wait
                }
                Event::EndOfInput => {
                    let context = commands::decode_context(
                        self.state,
                        self.tls_missing,
                        &self.settings,
                        &self.nsqd,
                    );
                    if self.has_magic
                        && let Some(error) = self.decoder.interrupted(&self.inbox, &context)
                    {
                        self.outbox.write(|out| frame::write_error(out, &error));
                    }
                    return true;
                }
                Event::Gone => return false,
            };
            loop {
                if !self.unsynced.is_empty() && !self.wait_for_sync().await {
                    return true;
                }
                match next {
                    // What is asked of others is an event when it is answered.
                    Next::Wait | Next::AskFirst | Next::Answered => break,
                    Next::Again => {}
                    Next::CreateTopic(name) => match self.create_topic(&name).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            self.refuse_topic(&error);
                            return true;
                        }
                        None => return false,
                    },
                    Next::Upgrade(agreed) => match Box::pin(self.upgrade(agreed)).await {
                        Upgrade::Done => {}
                        Upgrade::Refused => return true,
                        Upgrade::Gone => return false,
                    },
                    Next::Close => return true,
                    Next::Drop => return false,
                }
                next = self.process_inbox();
            }
            if self.wants_delivery {
                self.deliver();
            }
        }
    }

    /// Has the topic made, which takes as long as nsqlookupds take to answer; what was earned before is sent
    /// meanwhile. `None` when the client is closed first, as all are at shutdown.
    async fn create_topic(&mut self, name: &TopicName) -> Option<Result<Arc<Topic>, StoreError>> {
        let nsqd = Arc::clone(&self.nsqd);
        // Boxed: it is rare, and the task of every connection would be larger for it.
        let mut topic = Box::pin(nsqd.create_topic(name));
        poll_fn(|cx| {
            self.client.register(cx.waker());
            if self.client.is_closed() {
                return Poll::Ready(None);
            }
            // A broken connection shows at the next thing done with it.
            let _ = self.outbox.poll_send(&mut self.stream, cx);
            topic.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Waits until what was published is on the disk. Whether it is.
    async fn wait_for_sync(&mut self) -> bool {
        for topic in std::mem::take(&mut self.unsynced) {
            if let Err(cause) = self.nsqd.notes.syncer.sync(&topic).await {
                // The answers already in the outbox were earned by this sync: they must not go out.
                let command = nsq_protocol::CommandName::Publish;
                self.outbox.take_back(self.batch_mark);
                self.outbox.write(|out| {
                    frame::write_error(out, &CommandError::PublishFailed { command, cause });
                });
                return false;
            }
        }
        true
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.client.register(cx.waker());
        if self.client.is_closed() {
            return Poll::Ready(Event::Gone);
        }
        if let Poll::Ready(Err(_)) = self.outbox.poll_send(&mut self.stream, cx) {
            return Poll::Ready(Event::Gone);
        }
        if self.client.was_woken() {
            self.wants_delivery = true;
            if !self.can_deliver() {
                self.pass_on();
            }
        }
        if self.wants_delivery && self.can_deliver() {
            return Poll::Ready(Event::Deliver);
        }
        if self.is_asking() {
            if let Poll::Ready(next) = self.poll_answer(cx) {
                return Poll::Ready(Event::Input(next));
            }
        } else if self.outbox.waiting_bytes() < OUTBOX_LIMIT
            && let Poll::Ready(event) = self.poll_input(cx)
        {
            return Poll::Ready(event);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Timer);
        }
        Poll::Pending
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
            let bytes = read.filled();
            match outcome {
                Err(_) => Poll::Ready(Event::Gone),
                Ok(()) if bytes.is_empty() => Poll::Ready(Event::EndOfInput),
                Ok(()) if self.inbox.is_empty() => {
                    let (used, next) = self.process(bytes);
                    self.inbox.extend_from_slice(&bytes[used..]);
                    Poll::Ready(Event::Input(next))
                }
                Ok(()) => {
                    self.inbox.extend_from_slice(bytes);
                    Poll::Ready(Event::Input(self.process_inbox()))
                }
            }
        })
    }

    fn process_inbox(&mut self) -> Next {
        let mut inbox = std::mem::take(&mut self.inbox);
        let (used, next) = self.process(&inbox);
        inbox.drain(..used);
        // What large commands come in piecemeal to is wanted again at once; a heartbeat gives it back.
        if !inbox.is_empty() || inbox.capacity() <= KEPT_INBOX_BYTES {
            self.inbox = inbox;
        }
        next
    }

    /// Whether a deadline of the client has passed, and its socket shall be looked at once more. A process that was
    /// stopped, or had no processor for long, hears of its timers before its sockets: the client may have spoken long ago.
    fn is_first_time_overdue(&mut self) -> bool {
        let now = Instant::now();
        let is_silent = self.settings.heartbeat_interval.is_some_and(|interval| {
            let may_speak = !self.is_asking();
            may_speak && now >= self.last_command + 2 * interval
                || self.outbox.is_stuck(now, interval)
        });
        let is_late = self.first_command_deadline.is_some_and(|by| now >= by);
        let was_overdue = std::mem::replace(&mut self.is_overdue, is_silent || is_late);
        let is_first_time = self.is_overdue && !was_overdue;
        if is_first_time {
            self.timer.as_mut().reset(now + LAST_LOOK);
        }
        is_first_time
    }

    /// Whether the client has not said anything in time, which it is told then.
    fn is_first_command_late(&mut self) -> bool {
        let now = Instant::now();
        if self.first_command_deadline.is_none_or(|by| now < by) {
            return false;
        }
        let limit = GoDuration::from(self.nsqd.settings.first_command_timeout);
        let cause = format!("no command within {limit} (--{FIRST_COMMAND_TIMEOUT})");
        let client = &self.client.remote_address;
        self.nsqd.notes.admission.refusals.note(
            FIRST_COMMAND_TIMEOUT,
            format_args!("PROTOCOL(V2): [{client}] - {cause}"),
        );
        self.outbox
            .write(|out| frame::write_error(out, &CommandError::Silent { cause }));
        true
    }

    /// Heartbeats and deadlines. `false` when the client has been silent for too long, or does not read.
    fn handle_timer(&mut self) -> bool {
        let now = Instant::now();
        let Some(interval) = self.settings.heartbeat_interval else {
            self.timer.as_mut().reset(far_from(now));
            return true;
        };
        if self.is_asking() {
            // Not the client is silent: we do not listen.
            self.last_command = now;
        }
        let deadline = self.last_command + 2 * interval;
        if now >= deadline || self.outbox.is_stuck(now, interval) {
            tracing::warn!("PROTOCOL(V2): [{}] i/o timeout", self.client.remote_address);
            return false;
        }
        if now >= self.next_heartbeat {
            let interval = self
                .delivery_settings
                .heartbeat_interval
                .unwrap_or(interval);
            self.next_heartbeat = now + interval;
            self.outbox.shrink();
            self.inbox.shrink_to_fit();
            self.stream.release_memory();
            if self.has_magic {
                self.outbox.extend(frame::HEARTBEAT);
            }
        }
        let next = deadline.min(self.next_heartbeat);
        let next = self.first_command_deadline.map_or(next, |by| by.min(next));
        self.timer.as_mut().reset(next);
        true
    }

    fn restart_heartbeat(&mut self) {
        let now = Instant::now();
        self.last_command = now;
        self.next_heartbeat = self
            .delivery_settings
            .heartbeat_interval
            .map_or_else(|| far_from(now), |interval| now + interval);
        self.timer.as_mut().reset(self.next_heartbeat);
    }

    /// Sends what is left, and takes in what the client is still sending: a close with unread input would reset the
    /// connection, and the client might never see why.
    async fn close_gently(mut self) {
        let last_words = async {
            poll_fn(|cx| self.outbox.poll_send(&mut self.stream, cx)).await?;
            self.stream.shutdown().await?;
            let mut left = LAST_INPUT;
            let mut scratch = [0; 4096];
            while left > 0 {
                let count = self.stream.read(&mut scratch).await?;
                if count == 0 {
                    break;
                }
                left = left.saturating_sub(count);
            }
            io::Result::Ok(())
        };
        // A client that is gone, or does not read, hears nothing.
        let _ = tokio::time::timeout(LAST_WORDS, pin!(last_words)).await;
    }

    /// Lets another client have what this one was woken for.
    fn pass_on(&mut self) {
        if let Some(subscription) = &self.subscription {
            let mut wakes = Wakes::default();
            subscription
                .channel
                .lock()
                .decline(self.client.id, &mut wakes);
            wakes.ring();
        }
    }
}

fn far_from(now: Instant) -> Instant {
    now + Duration::from_hours(100 * 365 * 24)
}
