use super::super::backoff::Signal::{self, Failure, Neutral, Success};
use super::*;
use proptest::prelude::*;

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);

/// A flow and the time it lives in.
struct Bench {
    flow: Flow,
    now: Instant,
    /// RDYs in the order they were sent.
    sent: Changes,
}

impl Bench {
    fn new(max_in_flight: u32) -> Self {
        let config = Config {
            max_in_flight,
            ..Config::default()
        };
        let now = Instant::now();
        Self {
            flow: Flow::new(&config, Random::seeded(1), now),
            now,
            sent: Changes::new(),
        }
    }

    fn step(&mut self, event: impl FnOnce(&mut Flow, Instant, &mut Effects)) -> Vec<Note> {
        let mut effects = Effects::default();
        event(&mut self.flow, self.now, &mut effects);
        self.sent.extend(effects.changes);
        effects.notes
    }

    fn connect(&mut self, id: ConnectionId) {
        self.step(|flow, now, effects| flow.connected(id, 2500, now, effects));
    }

    fn disconnect(&mut self, id: ConnectionId) {
        self.step(|flow, now, effects| flow.disconnected(id, now, effects));
    }

    fn signal(&mut self, signal: Signal) -> Vec<Note> {
        self.step(|flow, now, effects| flow.on(signal, now, effects))
    }

    /// Lets time pass, with everything that is due on the way.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.flow.deadline() <= end {
            self.now = self.now.max(self.flow.deadline());
            self.step(Flow::handle_timeout);
        }
        self.now = end;
    }

    fn counts_sent(&mut self) -> Vec<u32> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().map(|(_, count)| count).collect()
    }
}

#[test]
fn failures_and_successes_send_what_go_nsq_sends() {
    let mut bench = Bench::new(5);
    bench.connect(A);
    for signal in [Success, Success, Success] {
        bench.signal(signal);
    }
    assert_eq!(bench.counts_sent(), [5]);
    for (signal, level) in [(Failure, 1), (Failure, 2), (Success, 1)] {
        bench.signal(signal);
        assert_eq!(bench.counts_sent(), [0]);
        bench.pass(Duration::from_millis((1000 << level) - 1));
        assert!(bench.counts_sent().is_empty(), "level {level} is not over");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.counts_sent(), [1]);
    }
    let notes = bench.signal(Success);
    assert_eq!(notes, [Note::BackoffOver { share: 5 }]);
    assert_eq!(bench.counts_sent(), [5]);
}

#[test]
fn a_neutral_outcome_while_testing_waits_again() {
    let mut bench = Bench::new(1);
    bench.connect(A);
    bench.signal(Failure);
    bench.pass(Duration::from_secs(2));
    bench.signal(Neutral);
    bench.pass(Duration::from_secs(2));
    bench.signal(Success);
    assert_eq!(bench.counts_sent(), [1, 0, 1, 0, 1, 1][..5]);
}

#[test]
fn backing_off_silences_all_and_tests_one() {
    let mut bench = Bench::new(10);
    bench.connect(A);
    bench.connect(B);
    assert_eq!(bench.counts_sent(), [10, 5, 5]);
    bench.signal(Failure);
    assert_eq!(bench.counts_sent(), [0, 0]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.counts_sent(), [1]);
    bench.signal(Success);
    assert_eq!(bench.flow.ready().total(), 10);
}

#[test]
fn a_connection_made_while_backing_off_waits_for_its_end() {
    let mut bench = Bench::new(4);
    bench.connect(A);
    bench.signal(Failure);
    bench.connect(B);
    assert_eq!(bench.counts_sent(), [4, 0]);
    bench.pass(Duration::from_secs(2));
    bench.signal(Success);
    assert_eq!(
        bench
            .flow
            .ready()
            .ids()
            .map(|id| bench.flow.ready().count(id))
            .collect::<Vec<_>>(),
        [2, 2]
    );
}

#[test]
fn the_test_moves_on_when_its_connection_is_lost() {
    let mut bench = Bench::new(4);
    bench.connect(A);
    bench.signal(Failure);
    bench.pass(Duration::from_secs(2));
    bench.disconnect(A);
    bench.connect(B);
    assert_eq!(bench.counts_sent(), [4, 0, 1]);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.sent, [(B, 1)]);
    bench.signal(Success);
    assert_eq!(bench.flow.ready().count(B), 4);
}

#[test]
fn without_a_connection_the_test_waits_for_one() {
    let mut bench = Bench::new(4);
    bench.connect(A);
    bench.signal(Failure);
    bench.disconnect(A);
    bench.pass(Duration::from_secs(3));
    assert!(bench.flow.is_backing_off());
    bench.connect(B);
    assert_eq!(bench.counts_sent(), [4, 0]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.counts_sent(), [1]);
}

#[test]
fn a_pause_while_backing_off_can_be_ended() {
    let mut bench = Bench::new(4);
    bench.connect(A);
    bench.signal(Failure);
    bench.pass(Duration::from_secs(2));
    bench.step(|flow, now, effects| flow.set_max_in_flight(0, now, effects));
    assert_eq!(bench.counts_sent(), [4, 0, 1, 0]);
    bench.step(|flow, now, effects| flow.set_max_in_flight(4, now, effects));
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.counts_sent(), [1]);
}

#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect(usize),
    Signal(Signal),
    MaxInFlight(u32),
    Message(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Connect),
        1 => (0_usize..8).prop_map(Step::Disconnect),
        3 => prop::sample::select(vec![Failure, Neutral, Success]).prop_map(Step::Signal),
        1 => (0_u32..8).prop_map(Step::MaxInFlight),
        2 => (0_usize..8).prop_map(Step::Message),
        3 => (0_u64..20_000).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn messages_always_come_again(steps in prop::collection::vec(step(), 0..120), failing: bool) {
        let mut bench = Bench::new(3);
        let mut last_id = 0;
        for step in steps {
            let count = bench.flow.ready().connection_count();
            let nth = |index: usize| bench.flow.ready().ids().nth(index % count.max(1));
            match step {
                Step::Connect => {
                    last_id += 1;
                    bench.connect(ConnectionId(last_id));
                }
                Step::Disconnect(index) => if let Some(id) = nth(index) {
                    bench.disconnect(id);
                },
                Step::Signal(signal) => {
                    bench.signal(signal);
                }
                Step::MaxInFlight(max) => {
                    bench.step(|flow, now, effects| flow.set_max_in_flight(max, now, effects));
                }
                Step::Message(index) => if let Some(id) = nth(index) {
                    let now = bench.now;
                    bench.flow.message_came(id, now);
                },
                Step::Pass(millis) => bench.pass(Duration::from_millis(millis)),
            }
            let ready = bench.flow.ready();
            prop_assert!(ready.total() <= ready.max_in_flight());
            if bench.flow.backoff.waiting_until().is_some() {
                prop_assert_eq!(ready.total(), 0);
            } else if bench.flow.backoff.level() > 0 {
                prop_assert!(ready.total() <= 1);
            }
        }
        // However it came to be: with connections and room, something is let through before long.
        bench.step(|flow, now, effects| flow.set_max_in_flight(3, now, effects));
        bench.connect(ConnectionId(last_id + 1));
        if failing {
            bench.signal(Failure);
        }
        bench.pass(Duration::from_mins(3));
        prop_assert!(bench.flow.ready().total() > 0);
        for _ in 0..20 {
            bench.signal(Success);
            bench.pass(Duration::from_mins(3));
        }
        prop_assert!(!bench.flow.is_backing_off());
prop_assert!(bench.flow.ready().total() > 0);
    }
}
