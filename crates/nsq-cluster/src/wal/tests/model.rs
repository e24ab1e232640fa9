//! The log against a list, under random operations, with a disk that is late and a process that is killed.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    PurgeBeyond(u64),
    Vote,
    Hold,
    Release,
    Read(u64, u64, usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40u64).prop_map(Step::Append),
        2 => (0..60u64).prop_map(Step::Truncate),
        2 => (0..60u64).prop_map(Step::Purge),
        1 => (0..9u64).prop_map(Step::PurgeBeyond),
        1 => Just(Step::Vote),
        2 => Just(Step::Hold),
        2 => Just(Step::Release),
        4 => (0..90u64, 0..90u64, 1..9000usize).prop_map(|(a, b, c)| Step::Read(a, b, c)),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    purged: Option<LogId>,
    entries: Vec<Entry>,
    vote: Option<Vote>,
    term: u64,
}

impl Model {
    fn end(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.id).or(self.purged)
    }
}

fn run(steps: Vec<Step>, durability: Durability, cache_bytes: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut bench = Bench::new(durability);
    bench.options.cache_bytes = cache_bytes;
    let mut wal = bench.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(count) => {
                let new = entries(model.term, model.end()..model.end() + count);
                append(&wal, new.clone());
                model.entries.extend(new);
            }
            Step::Truncate(back) => {
                let keep = model
                    .entries
                    .len()
                    .saturating_sub(usize::try_from(back).unwrap());
                model.entries.truncate(keep);
                model.term += 1;
                wal.truncate_after(model.last()).unwrap();
            }
            Step::Purge(count) => {
                let count = usize::try_from(count).unwrap().min(model.entries.len());
                if let Some(last) = model.entries.drain(..count).last() {
                    model.purged = Some(last.id);
                    wal.purge(last.id).unwrap();
                }
            }
            Step::PurgeBeyond(distance) => {
                model.term += 1;
                let id = LogId {
                    term: model.term,
                    index: model.end() + distance,
                };
                model.entries.clear();
                model.purged = Some(id);
                wal.purge(id).unwrap();
            }
            Step::Vote => {
                model.term += 1;
                let vote = vote(model.term);
                bench.writer.release();
                runtime.block_on(wal.save_vote(vote)).unwrap();
                model.vote = Some(vote);
            }
            Step::Hold => bench.writer.hold(),
            Step::Release => bench.writer.release(),
            Step::Read(from, count, limit) => {
                let from = model.end().saturating_sub(from);
                let read = runtime
                    .block_on(wal.read(from..from + count, limit))
                    .unwrap();
                let expected = model
                    .entries
                    .iter()
                    .filter(|entry| (from..from + count).contains(&entry.id.index));
                let expected: Vec<_> = expected.take(read.len().max(1)).cloned().collect();
                assert_eq!(read, expected);
            }
            Step::Reopen => {
                bench.writer.release();
                drop(wal);
                wal = bench.open();
            }
        }
        assert_eq!((wal.purged(), wal.last()), (model.purged, model.last()));
        assert_eq!(wal.vote(), model.vote);
    }
    bench.writer.release();
    assert_eq!(wal.unstored_bytes(), 0);
    assert_eq!(runtime.block_on(all(&wal)), model.entries);
    drop(wal);
    assert_eq!(runtime.block_on(all(&bench.open())), model.entries);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_log_does_what_a_list_does(
        steps in prop::collection::vec(step(), 1..60),
        cache_bytes in prop_oneof![Just(0), Just(3000), Just(1_usize << 20)],
    ) {
        run(steps, Durability::Written, cache_bytes);
    }
}
