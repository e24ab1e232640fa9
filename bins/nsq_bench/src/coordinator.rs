//! The threads of a run: started together, told when to stop, and added up.

use std::{
    sync::{
        Arc, Barrier,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nsq_protocol::encode;

use crate::{
    clock::{Clock, nanos},
    connection::Socket,
    error::BenchError,
    latency::Latencies,
    progress::Progress,
    publisher::{Published, Publisher, Timetable},
    report::Report,
    run::{Connection, Plan},
    schedule::{Schedule, Share},
    subscriber::{Received, Redelivered, Subscriber},
};

/// What threads tell the coordinator.
#[derive(Debug)]
enum Event {
    Enough,
    Published(Result<Published, BenchError>),
    Received(Result<Received, BenchError>),
}

/// Starts the threads, stops them when it is time, and adds up what they have done.
pub(crate) struct Coordinator<'a> {
    plan: &'a Plan,
    clock: Clock,
    progress: Arc<Progress>,
    gate: Arc<Barrier>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    all_sockets: Vec<Arc<Socket>>,
    subscribed_sockets: Vec<Arc<Socket>>,
    publishing_count: usize,
    receiving_count: usize,
    closing: Closing,
    published: u64,
    received: u64,
    redelivered: u64,
    received_bytes: u64,
    answers: Latencies,
    end_to_end: Latencies,
    refused_count: u64,
    first_refusal: Option<String>,
    failures: Vec<String>,
}

/// How far the end of a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// Still under load.
    No,
    /// CLS has been sent; its answers are awaited.
    Subscribers,
    /// Something failed: all sockets are shut, and later events of the threads are ignored.
    Abandoned,
}

impl<'a> Coordinator<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        clock: Clock,
        publishers: &[Connection],
        subscribers: &[Connection],
    ) -> Self {
        let sockets = |connections: &[Connection]| -> Vec<Arc<Socket>> {
            connections
                .iter()
                .map(|(socket, _)| Arc::clone(socket))
                .collect()
        };
        let wanted = match plan.publishing {
            // The number of messages to receive is known once all are published.
            Some(_) => None,
            None => plan.messages,
        };
        let (sender, events) = mpsc::channel();
        Self {
            plan,
            clock,
            progress: Arc::new(Progress::new(wanted)),
            gate: Arc::new(Barrier::new(publishers.len() + subscribers.len() + 1)),
            events,
            sender,
            all_sockets: [sockets(publishers), sockets(subscribers)].concat(),
            subscribed_sockets: sockets(subscribers),
            publishing_count: publishers.len(),
            receiving_count: subscribers.len(),
            closing: Closing::No,
            published: 0,
            received: 0,
            redelivered: 0,
            received_bytes: 0,
            answers: Latencies::default(),
            end_to_end: Latencies::default(),
            refused_count: 0,
            first_refusal: None,
            failures: Vec::new(),
        }
    }

    /// Starts one thread for each connection; all wait at the gate.
    pub(crate) fn spawn(
        &mut self,
        publishers: Vec<Connection>,
        subscribers: Vec<Connection>,
    ) -> Result<(), BenchError> {
        let clock = self.clock;
        if let Some((_, subscribing)) = &self.plan.subscribing {
            let redelivered = match self.plan.publishing {
                Some(_) => Redelivered::DoesNotCount,
                None => Redelivered::Counts,
            };
            for (socket, inbox) in subscribers {
                let subscriber = Subscriber::new(socket, inbox, subscribing, redelivered, clock);
                self.spawn_one(move |progress, sender| {
                    let enough = || drop(sender.send(Event::Enough));
                    Event::Received(subscriber.run(progress, enough))
                })?;
            }
        }
        if let Some((_, publishing)) = &self.plan.publishing {
            let commands = self
                .plan
                .messages
                .map(|all| all / u64::from(publishing.batch));
            let connections = publishers.len() as u64;
            let rate = publishing.rate;
            let duration_nanos = self.plan.duration.map(nanos);
            for (connection, (socket, inbox)) in (0..).zip(publishers) {
                let share = Share::deal(commands, connection, connections);
                let publisher =
                    Publisher::new(socket, inbox, &self.plan.topic, publishing, share, clock);
                self.spawn_one(move |progress, _| {
                    let start = progress.start_nanos();
                    let timetable = Timetable {
                        schedule: (rate > 0).then(|| Schedule::new(start, rate)),
                        end_nanos: duration_nanos
                            .map_or(u64::MAX, |duration| start.saturating_add(duration)),
                    };
                    Event::Published(publisher.run(timetable, progress))
                })?;
            }
        }
        Ok(())
    }

    fn spawn_one(
        &self,
        work: impl FnOnce(&Progress, &Sender<Event>) -> Event + Send + 'static,
    ) -> Result<(), BenchError> {
        let progress = Arc::clone(&self.progress);
        let gate = Arc::clone(&self.gate);
        let sender = self.sender.clone();
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                gate.wait();
                let outcome = work(&progress, &sender);
                // This fails only when the whole run has been given up.
                drop(sender.send(outcome));
            })
            .map(drop)
            .map_err(BenchError::Thread)
    }

    pub(crate) fn let_go(&self, start_nanos: u64) {
        self.progress.start_at(start_nanos);
        self.gate.wait();
    }

    /// Handles events until every thread has ended, or its time to end is over.
    pub(crate) fn wait_for_all(&mut self, start_nanos: u64) {
        // Publishers check the time themselves; the run waits for what they published.
        let deadline_nanos = match (self.plan.duration, &self.plan.publishing) {
            (Some(duration), None) => start_nanos.saturating_add(nanos(duration)),
            _ => u64::MAX,
        };
        let deferred = self
            .plan
            .publishing
            .as_ref()
            .and_then(|(_, publishing)| publishing.defer);
        let patience = self.plan.patience + deferred.unwrap_or_default();
        let mut moved_at = Instant::now();
        let mut seen = (0, 0);
        while self.publishing_count + self.receiving_count > 0 {
            let until_deadline =
                Duration::from_nanos(deadline_nanos.saturating_sub(self.clock.now()));
            match self.events.recv_timeout(until_deadline.min(LOOK_AROUND)) {
                Ok(event) => {
                    self.handle(event);
                    moved_at = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.closing == Closing::No && self.clock.now() >= deadline_nanos {
                self.close_subscribers();
            }
            let now_seen = (self.progress.published(), self.progress.received());
            if now_seen != seen {
                (seen, moved_at) = (now_seen, Instant::now());
            }
            if moved_at.elapsed() < patience {
                continue;
            }
            if self.closing == Closing::Abandoned {
                // The threads have not ended although their sockets are shut: report what there is.
                return;
            }
            self.abandon(&BenchError::Stalled {
                patience,
                published: seen.0,
                received: seen.1,
            });
            moved_at = Instant::now();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Enough => self.close_subscribers(),
            Event::Published(outcome) => {
                self.publishing_count -= 1;
                match outcome {
                    Ok(published) => {
                        self.published += published.messages;
                        self.answers.merge(&published.answers);
                    }
                    Err(error) => self.abandon(&error),
                }
                if self.publishing_count == 0 && self.progress.want(self.published) {
                    self.close_subscribers();
                }
            }
            Event::Received(outcome) => {
                self.receiving_count -= 1;
                match outcome {
                    Ok(received) => {
                        self.received += received.messages;
                        self.redelivered += received.redelivered;
                        self.received_bytes += received.body_bytes;
                        self.end_to_end.merge(&received.latencies);
                        self.refused_count += received.refused_count;
                        self.first_refusal = self.first_refusal.take().or(received.first_refusal);
                    }
                    Err(error) => self.abandon(&error),
                }
            }
        }
    }

    /// Sends CLS on every subscribed connection; their threads end with the answer.
    fn close_subscribers(&mut self) {
        if self.closing != Closing::No {
            return;
        }
        self.closing = Closing::Subscribers;
        let mut out = Vec::new();
        encode::close(&mut out);
        for socket in self.subscribed_sockets.clone() {
            if let Err(error) = socket.write(&out) {
                self.abandon(&error);
            }
        }
    }

    /// Notes why the run has failed and ends it. Errors that result from that are not noted.
    fn abandon(&mut self, error: &BenchError) {
        if self.closing == Closing::Abandoned {
            return;
        }
        self.closing = Closing::Abandoned;
        self.failures.push(error.to_string());
        for socket in &self.all_sockets {
            socket.shut_down();
        }
    }

    pub(crate) fn into_report(mut self) -> Report {
        if let Some(first) = self.first_refusal {
            let count = self.refused_count;
            self.failures
                .push(BenchError::CommandsRefused { count, first }.to_string());
        }
        if !self.failures.is_empty() {
            // Threads that failed have not reported their counts.
            self.published = self.progress.published();
            self.received = self.received.max(self.progress.received());
        }
        let actual = match self.plan.subscribing {
            Some(_) => self.received,
            None => self.published,
        };
        if let Some(wanted) = self.plan.messages
            && actual < wanted
            // Another failure explains it better.
            && self.failures.is_empty()
        {
            self.failures
                .push(BenchError::TooFew { wanted, actual }.to_string());
        }
        let body_bytes = match (&self.plan.subscribing, &self.plan.publishing) {
            (None, Some((_, publishing))) => self.published * u64::from(publishing.size),
            _ => self.received_bytes,
        };
        Report {
            load: self.plan.load.clone(),
            address: self.plan.address.clone(),
            topic: self.plan.topic.to_string(),
            published: self.published,
            received: self.received,
            redelivered: self.redelivered,
            body_bytes,
            answer_latency: self.answers.percentiles(),
            end_to_end_latency: self.end_to_end.percentiles(),
            failures: self.failures,
            seconds: 0.0,
            server: None,
            own_cpu_us: 0.0,
        }
    }
}

const STACK_BYTES: usize = 256 * 1024;
/// How often the coordinator checks for progress.
const LOOK_AROUND: Duration = Duration::from_millis(250);
