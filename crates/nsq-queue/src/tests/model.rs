//! Random operations, against a vector that does the same.

use proptest::prelude::*;

use super::*;
use crate::disk::Act;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    FailingAppend(Vec<usize>, usize, usize),
    Truncate(u64),
    Release(u64),
    Reopen,
    Rest,
    Sync,
    Read(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes =
        || prop::collection::vec(prop_oneof![9 => 0..400_usize, 1 => 0..20_000_usize], 0..20);
    prop_oneof![
        8 => sizes().prop_map(Step::Append),
        2 => (sizes(), 0..3_usize, 0..3000_usize)
            .prop_map(|(sizes, after, short)| Step::FailingAppend(sizes, after, short)),
        1 => (0..100_u64).prop_map(Step::Truncate),
        2 => (0..120_u64).prop_map(Step::Release),
        2 => Just(Step::Reopen),
        1 => Just(Step::Rest),
        1 => Just(Step::Sync),
        2 => (0..100_u64).prop_map(Step::Read),
    ]
}

/// What the log should hold: all ever appended, and where the kept part begins at the latest.
#[derive(Default)]
struct Model {
    bodies: Vec<Vec<u8>>,
    released: u64,
    made: u64,
}

impl Model {
    fn end(&self) -> u64 {
        self.bodies.len() as u64
    }

    /// A place in the log, as so many percent of it.
    fn place(&self, percent: u64) -> u64 {
        self.end() * percent / 100
    }

    fn make(&mut self, sizes: &[usize]) -> Vec<Vec<u8>> {
        let made = sizes.iter().map(|&size| {
            self.made += 1;
            bodies(self.made..self.made + 1, size).remove(0)
        });
        made.collect()
    }

    fn check(&self, log: &Arc<Log>) {
        let first = log.first_sequence();
        assert!(
            first <= self.released.min(self.end()),
            "{first} of {}",
            self.released
        );
        assert_eq!(log.end_sequence(), self.end());
        let kept = &self.bodies[usize::try_from(first).unwrap()..];
        assert_eq!(read_all(log), kept);
    }
}

fn run(steps: Vec<Step>, mut bench: Bench) {
    bench.options.max_segment_bytes = 64 << 10;
    bench.pool = Arc::new(SegmentPool::new(bench.path(), 256 << 10));
    let mut model = Model::default();
    let (mut writer, _) = bench.open();
    let mut reader = Reader::new(Arc::clone(writer.log()));
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let batch = model.make(&sizes);
                let appended = append(&mut writer, &batch).unwrap();
                let end = model.end();
                assert_eq!(appended, end..end + batch.len() as u64);
                model.bodies.extend(batch);
            }
            Step::FailingAppend(sizes, after, short) => {
                let batch = model.make(&sizes);
                bench.disk.faults.plan(Act::Write, after, 1, short, 5);
                let result = append(&mut writer, &batch);
                bench.disk.faults.clear();
                if result.is_ok() {
                    model.bodies.extend(batch);
                }
            }
            Step::Truncate(percent) => {
                let to = model.place(percent).max(writer.log().first_sequence());
                writer.truncate(to).unwrap();
                model.bodies.truncate(usize::try_from(to).unwrap());
                model.released = model.released.min(to);
            }
            Step::Release(percent) => {
                let to = model.place(percent).min(model.end());
                writer.release_before(to);
                model.released = model.released.max(to);
            }
            Step::Reopen => {
                drop(writer);
                let (reopened, recovery) = bench.open();
                assert_eq!(recovery.damaged, []);
                assert_eq!(recovery.end, model.end());
                writer = reopened;
                reader = Reader::new(Arc::clone(writer.log()));
            }
            Step::Rest => {
                writer.rest();
                reader.rest();
            }
            Step::Sync => assert_eq!(writer.log().sync().unwrap(), model.end()),
            Step::Read(percent) => {
                let mut cursor = writer.log().seek(model.place(percent));
                let at = usize::try_from(cursor.sequence).unwrap();
                let read = reader.next(&mut cursor).unwrap();
                assert_eq!(
                    read.map(|record| record.body),
                    model.bodies.get(at).map(|body| &**body)
                );
            }
        }
        model.check(writer.log());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_as_a_vector(steps in prop::collection::vec(step(), 1..40)) {
        run(steps, Bench::new());
    }
}
