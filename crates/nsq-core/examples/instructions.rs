//! The core's main loops, for their instructions to be counted: `make instructions` runs this in callgrind.
//!
//! ```text
//! instructions list              the loads, one a line: name, messages a round
//! instructions <load> <rounds>   the load's preparation, always the same, then so many rounds of it
//! ```
//!
//! Two runs that differ in their rounds differ in nothing else, so what they differ by is the load's. The clock stands
//! still and there is one thread: the counts repeat to a fraction of a percent. What the kernel does is not in them.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::broker::{Change, Host};
use nsq_core::channel::Budget;
use nsq_core::{
    Broker, Channel, ChannelCell, ClientHandle, ClientId, Locality, Now, SafeOnce, Settings,
    Subscription, Tick, Topic,
};
use nsq_protocol::{
    ChannelName, ClientState, Command, Context, Decoder, Limits, MessageId, TopicName, frame,
};
use nsq_queue::LogOptions;

/// The most rounds that a load is prepared for.
const MAX_ROUNDS: usize = 100;
/// Messages in a batch.
const BATCH: usize = 200;
const BODY: [u8; 200] = [b'x'; 200];
const CLIENT: ClientId = ClientId(1);
const NOW: Now = Now {
    tick: Tick::from_nanos(5_000_000_000),
    unix_nanos: 1_700_000_000_000_000_000,
};
const LIMITS: Limits = Limits {
    max_msg_size: 1 << 20,
    max_body_size: 5 << 20,
    max_rdy_count: 1 << 20,
    max_req_timeout: Duration::from_hours(1),
};

/// What is counted: a name, the messages of a round, the preparation, and one round.
struct Load {
    name: &'static str,
    messages: usize,
    prepare: fn(&mut TestBroker),
    round: fn(&mut TestBroker, &mut Vec<u8>),
}

const LOADS: [Load; 8] = [
    Load {
        name: "mpub-200",
        messages: BATCH,
        prepare: |house| house.input = multi_publish(),
        round: |house, _| house.apply_input(),
    },
    Load {
        name: "pub",
        messages: BATCH,
        prepare: |house| house.input = publish(1),
        round: |house, _| (0..BATCH).for_each(|_| house.apply_input()),
    },
    Load {
        name: "pub-64-pipelined",
        messages: 64,
        prepare: |house| house.input = publish(64),
        round: |house, _| house.apply_input(),
    },
    Load {
        name: "dpub",
        messages: BATCH,
        prepare: |house| house.input = publish_deferred(),
        round: |house, _| (0..BATCH).for_each(|_| house.apply_input()),
    },
    Load {
        name: "take-200",
        messages: BATCH,
        prepare: TestBroker::fill,
        round: |house, out| house.take(out),
    },
    Load {
        name: "fin-200",
        messages: BATCH,
        prepare: |house| {
            house.fill();
            house.answer_all(|id| [b"FIN ", &id.to_hex()[..], b"\n"].concat());
        },
        round: |house, _| house.apply_answers(),
    },
    Load {
        name: "req-200",
        messages: BATCH,
        prepare: |house| {
            house.fill();
            house.answer_all(|id| [b"REQ ", &id.to_hex()[..], b" 0\n"].concat());
        },
        round: |house, _| house.apply_answers(),
    },
    Load {
        name: "req-200-later",
        messages: BATCH,
        prepare: |house| {
            house.fill();
            house.answer_all(|id| [b"REQ ", &id.to_hex()[..], b" 1000\n"].concat());
        },
        round: |house, _| house.apply_answers(),
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => {
            let lines = LOADS.map(|load| format!("{} {}\n", load.name, load.messages));
            let written = std::io::stdout().write_all(lines.concat().as_bytes());
            return written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        [name, rounds] => {
            let load = LOADS.iter().find(|load| load.name == name);
            let rounds = rounds.parse().ok().filter(|rounds| *rounds <= MAX_ROUNDS);
            if let (Some(load), Some(rounds)) = (load, rounds) {
                run(load, rounds);
                return ExitCode::SUCCESS;
            }
        }
        _ => {}
    }
    // Nothing is left to do should this fail.
    let _ = writeln!(
        std::io::stderr(),
        "usage: instructions list | instructions <load> <rounds up to {MAX_ROUNDS}>"
    );
    ExitCode::FAILURE
}

fn run(load: &Load, rounds: usize) {
    let mut house = TestBroker::new();
    (load.prepare)(&mut house);
    let mut out = Vec::with_capacity(1 << 20);
    for _ in 0..rounds {
        out.clear();
        (load.round)(&mut house, &mut out);
    }
}

/// A broker with one topic, one channel and one client, who does not wait.
struct TestBroker {
    topic: Arc<Topic>,
    cell: Arc<ChannelCell>,
    decoder: Decoder,
    /// What a client sends in a round.
    input: Vec<u8>,
    /// The same, where it is another in each.
    answers: Vec<Vec<u8>>,
    _folder: tempfile::TempDir,
}

/// No one is woken, and no clock is set.
struct Silence;

impl ClientHandle for Silence {
    fn wake(&self) {}
    fn close(&self) {}
}

impl Host for Silence {
    fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}
    fn registry_changed(&self, _: Change) {}
}

impl TestBroker {
    fn new() -> TestBroker {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let settings = Settings {
            data_path: folder.path().to_path_buf(),
            node_id: 1,
            mem_queue_size: 10_000,
            max_msg_timeout: Duration::from_mins(15),
            max_req_timeout: Duration::from_hours(1),
            max_msg_size: 1 << 20,
            safe_once: SafeOnce::default(),
            sync_every: 2500,
            max_free_segment_bytes: 256 << 20,
            log_options: LogOptions::default(),
            percentiles: None,
            is_replicated: false,
        };
        let name = TopicName::parse("topic").expect("a valid name");
        let channel = ChannelName::parse("channel").expect("a valid name");
        let broker = Broker::open(settings, Arc::new(Silence), NOW).expect("an empty folder");
        let (topic, _) = broker
            .get_or_create_topic(&name, false, NOW)
            .expect("a folder to write to");
        let cell = topic
            .get_or_create_channel(&channel, NOW)
            .expect("a folder to write to");
        let subscription = Subscription {
            client: CLIENT,
            handle: Arc::new(Silence),
            msg_timeout: Duration::from_mins(1),
            sample_rate: 0,
            locality: Locality::Elsewhere,
        };
        let mut guard = cell.lock();
        guard.subscribe(subscription, 1).expect("it is the first");
        guard.set_ready_count(CLIENT, 1 << 20);
        drop(guard);
        TestBroker {
            topic,
            cell,
            decoder: Decoder::new(),
            input: Vec::new(),
            answers: Vec::new(),
            _folder: folder,
        }
    }

    /// Publishes what the most rounds can take.
    fn fill(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let bodies = [&BODY[..]; BATCH];
            self.publish(bodies.iter().copied());
        }
    }

    fn publish<'a>(&self, bodies: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.topic.publish(bodies, NOW).expect("room on the disk");
    }

    /// Takes all there is, with an answer to each.
    fn answer_all(&mut self, answer: impl Fn(MessageId) -> Vec<u8>) {
        for _ in 0..MAX_ROUNDS {
            let mut answers = Vec::new();
            self.take_each(|delivery| answers.extend(answer(delivery.id)));
            self.answers.push(answers);
        }
        self.answers.reverse();
    }

    fn take_each(&self, deliver: impl FnMut(nsq_core::Delivery<'_>)) {
        let budget = Budget {
            messages: BATCH,
            bytes: usize::MAX,
        };
        let taken = self.cell.lock().take(CLIENT, budget, NOW, deliver);
        assert_eq!(taken.count, BATCH, "the channel was filled");
    }

    /// One round of what a connection does to deliver.
    fn take(&mut self, out: &mut Vec<u8>) {
        self.take_each(|message| {
            frame::write_message(
                out,
                message.timestamp,
                message.attempts,
                message.id,
                message.body,
            );
        });
    }

    /// One round of what a connection does with publishes: runs of PUBs are appended together.
    fn apply_input(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        let mut bodies = Vec::new();
        while let Some((command, used)) = decode(&mut self.decoder, rest) {
            match command {
                Command::Publish { body, .. } => bodies.push(body),
                Command::PublishMany { messages, .. } => {
                    self.publish(messages.expect("a good batch").iter());
                }
                Command::PublishDeferred { delay, body, .. } => {
                    let due = NOW.unix_after(delay);
                    let published = self.topic.publish_deferred(body, due, NOW);
                    published.expect("room on the disk");
                }
                other => panic!("{other:?} is no publish"),
            }
            rest = &rest[used..];
        }
        if !bodies.is_empty() {
            self.publish(bodies.into_iter());
        }
        self.input = input;
    }

    /// One round of what a connection does with answers to messages: all under one lock.
    fn apply_answers(&mut self) {
        let answers = self.answers.pop().expect("as many as rounds");
        let mut rest = &answers[..];
        let mut channel = self.cell.lock();
        while let Some((command, used)) = decode(&mut self.decoder, rest) {
            apply_answer(&command, &mut channel);
            rest = &rest[used..];
        }
    }
}

fn apply_answer(command: &Command<'_>, channel: &mut Channel) {
    let known = |id: &_| MessageId::from_hex(id).expect("an id of ours");
    let outcome = match command {
        Command::Finish { id } => channel.finish(CLIENT, known(id), NOW),
        Command::Requeue { id, delay, .. } => channel.requeue(CLIENT, known(id), *delay, NOW),
        other => panic!("{other:?} answers no message"),
    };
    outcome.expect("the client holds it");
}

fn decode<'a>(decoder: &mut Decoder, bytes: &'a [u8]) -> Option<(Command<'a>, usize)> {
    let context = Context {
        state: ClientState::Subscribed,
        tls_missing: false,
        heartbeats_disabled: false,
        limits: &LIMITS,
    };
    decoder.decode(bytes, &context).expect("good commands")
}

fn sized(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a small body");
    [&size.to_be_bytes(), body].concat()
}

fn publish(count: usize) -> Vec<u8> {
    [b"PUB topic\n", &sized(&BODY)[..]].concat().repeat(count)
}

fn publish_deferred() -> Vec<u8> {
    [b"DPUB topic 1000\n", &sized(&BODY)[..]].concat()
}

fn multi_publish() -> Vec<u8> {
    let count = u32::try_from(BATCH).expect("a small batch");
    let messages = sized(&BODY).repeat(BATCH);
    let body = [&count.to_be_bytes(), &messages[..]].concat();
    [b"MPUB topic\n", &sized(&body)[..]].concat()
}
