//! Appending, reading, reopening, truncating, releasing.

use super::*;
use crate::header::HEADER_BYTES;
use crate::{Position, Record};

#[test]
fn what_is_appended_is_read_over_many_segments_and_after_reopening() {
    let bench = Bench::new();
    let (mut writer, recovery) = bench.open();
    assert_eq!((recovery.records, recovery.end), (0, 0));
    assert_eq!(bench.files().len(), 0, "no file before the first append");
    let all = bodies(0..1000, 200);
    for batch in all.chunks(7) {
        append(&mut writer, batch).unwrap();
    }
    assert_eq!(read_all(writer.log()), all);
    assert!(bench.files().len() > 10);
    let end = writer.end();
    drop(writer);

    let (mut writer, recovery) = bench.open();
    assert_eq!(recovery.damaged, []);
    assert_eq!((recovery.records, recovery.end), (1000, 1000));
    assert_eq!(writer.end(), end);
    assert_eq!(read_all(writer.log()), all);
    assert_eq!(
        append(&mut writer, &bodies(1000..1001, 9)).unwrap(),
        1000..1001
    );
    assert_eq!(read_all(writer.log()).len(), 1001);
}

#[test]
fn every_field_comes_back_and_a_position_can_be_read_again() {
    let mut writer = Writer::in_memory(OPTIONS);
    let deferred = NewRecord {
        id: u64::MAX,
        timestamp: -1,
        due: i64::MAX,
        attempts: 3,
        body: b"later",
    };
    writer
        .append([record(b"now"), deferred].into_iter())
        .unwrap();
    let mut reader = Reader::new(Arc::clone(writer.log()));
    let mut cursor = Cursor::default();
    reader.next(&mut cursor).unwrap().unwrap();
    let position = cursor.position;
    let expected = Record {
        sequence: 1,
        position,
        id: u64::MAX,
        timestamp: -1,
        due: i64::MAX,
        attempts: 3,
        body: b"later",
    };
    assert_eq!(reader.next(&mut cursor).unwrap(), Some(expected));
    assert_eq!(reader.next(&mut cursor).unwrap(), None);
    assert_eq!(reader.read(1, position).unwrap(), expected);
    let unknown = Position {
        offset: 0,
        ..position
    };
    assert_eq!(reader.read(1, unknown).unwrap().body, b"later");
    assert!(reader.read(2, position).is_err());
}

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let all = vec![b"small".to_vec(), vec![7; 100_000], b"after".to_vec()];
    append(&mut writer, &all).unwrap();
    assert_eq!(read_all(writer.log()), all);
    drop(writer);
    assert_eq!(read_all(bench.open().0.log()), all);
}

#[test]
fn seeking_finds_each_record_and_clamps() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let all = bodies(0..200, 100);
    append(&mut writer, &all).unwrap();
    let log = writer.log();
    let mut reader = Reader::new(Arc::clone(log));
    for (sequence, body) in (0..).zip(&all) {
        let mut cursor = log.seek(sequence);
        assert_ne!(cursor.position.offset, 0);
        let read = reader.next(&mut cursor).unwrap().unwrap();
        assert_eq!((read.sequence, read.body), (sequence, &**body));
    }
    let mut end = log.seek(u64::MAX);
    assert_eq!(end.sequence, 200);
    assert!(reader.next(&mut end).unwrap().is_none());
    append(&mut writer, &bodies(200..201, 100)).unwrap();
    assert_eq!(reader.next(&mut end).unwrap().unwrap().sequence, 200);
}

#[test]
fn a_reader_at_the_end_goes_on_when_more_is_there() {
    let mut writer = Writer::in_memory(OPTIONS);
    let mut reader = Reader::new(Arc::clone(writer.log()));
    let mut cursor = writer.end();
    for number in 0..500 {
        assert!(reader.next(&mut cursor).unwrap().is_none());
        append(&mut writer, &bodies(number..number + 1, 100)).unwrap();
        assert_eq!(reader.next(&mut cursor).unwrap().unwrap().sequence, number);
        assert_eq!(cursor.sequence, writer.end().sequence);
    }
}

#[test]
fn segments_are_freed_once_everything_in_them_is_finished() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    let files = bench.files().len();
    let second = writer.log().segment_base(1).unwrap();
    assert_eq!(writer.release_before(second - 1), 0);
    assert_eq!(writer.release_before(second), 1);
    assert_eq!(writer.log().first_sequence(), second);
    assert_eq!(bench.files().len(), files - 1);
    assert!(writer.release_before(100) > 0);
    drop(writer);
    let (writer, recovery) = bench.open();
    assert_eq!(recovery.end, 100);
    assert_eq!(recovery.damaged, []);
    assert!(writer.log().first_sequence() > second);
}

#[test]
fn a_log_at_rest_whose_records_are_all_finished_shrinks_and_keeps_its_numbers() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    let identity = writer.log().identity();
    writer.release_before(100);
    writer.rest();
    assert_eq!(writer.log().disk_bytes(), 4096);
    assert_eq!(writer.log().first_sequence(), 100);
    assert_eq!(bench.files().len(), 1);
    drop(writer);
    let (mut writer, recovery) = bench.open();
    assert_eq!((recovery.records, recovery.end), (0, 100));
    assert_eq!(writer.log().identity(), identity);
    assert_eq!(append(&mut writer, &bodies(0..1, 1)).unwrap(), 100..101);
    assert_eq!(read_all(writer.log()), bodies(0..1, 1));
}

#[test]
fn what_was_truncated_never_comes_back_even_under_records_of_the_same_size() {
    for to in [0, 1, 10, 40, 99] {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(0..100, 200)).unwrap();
        writer.truncate(to).unwrap();
        assert_eq!(writer.end().sequence, to);
        assert_eq!(read_all(writer.log()), bodies(0..to, 200));
        drop(writer);

        let (mut writer, recovery) = bench.open();
        assert_eq!((recovery.end, &*recovery.damaged), (to, &[][..]));
        append(&mut writer, &bodies(1000..1003, 200)).unwrap();
        let mut expected = bodies(0..to, 200);
        expected.extend(bodies(1000..1003, 200));
        assert_eq!(read_all(writer.log()), expected);
        drop(writer);
        let (mut writer, recovery) = bench.open();
        assert_eq!((recovery.end, &*recovery.damaged), (to + 3, &[][..]));
        assert_eq!(read_all(writer.log()), expected);
        writer.truncate(0).unwrap();
        assert_eq!(read_all(writer.log()), bodies(0..0, 0));
    }
}

#[test]
fn deleting_a_log_leaves_no_file() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    writer.delete().unwrap();
    assert_eq!(bench.files().len(), 0);
}

#[test]
fn a_log_whose_name_begins_like_another_is_left_alone() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..3, 200)).unwrap();
    let pool = Arc::clone(&bench.pool);
    let (other, recovery) = Writer::open(bench.path(), "lo", pool, OPTIONS).unwrap();
    assert_eq!(recovery.records, 0);
    other.delete().unwrap();
    assert_eq!(read_all(writer.log()).len(), 3);
}

#[test]
fn an_emptied_log_starts_behind_what_it_had() {
    let mut writer = Writer::in_memory(OPTIONS);
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    let mut stale = writer.log().seek(90);
    writer.truncate(50).unwrap();
    append(&mut writer, &bodies(1000..1100, 300)).unwrap();
    let mut reader = Reader::new(Arc::clone(writer.log()));
    let read = reader.next(&mut stale).unwrap().unwrap();
    assert_eq!(
        (read.sequence, read.body),
        (90, &*bodies(1040..1041, 300)[0])
    );
}

#[test]
fn sync_tells_what_is_safe() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    assert_eq!(writer.log().synced_sequence(), 0);
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    assert_eq!(writer.log().synced_sequence(), 0);
    assert_eq!(writer.log().sync().unwrap(), 100);
    assert_eq!(writer.log().synced_sequence(), 100);
    writer.truncate(60).unwrap();
    assert_eq!(writer.log().synced_sequence(), 60);
    assert!(u64::from(HEADER_BYTES) < writer.log().disk_bytes());
}

#[test]
fn a_batch_in_memory_keeps_its_order_whatever_the_sizes_of_its_messages() {
    let options = LogOptions {
        first_segment_bytes: 4096,
        max_segment_bytes: 1 << 20,
    };
    let mut writer = Writer::in_memory(options);
    let sizes = [
        1, 4095, 4096, 4097, 20, 200_000, 100, 4103, 1_500_000, 30, 65_536,
    ];
    let mut all = Vec::new();
    for round in 0..20_u64 {
        let numbers = round * 100..;
        let mut batch: Vec<_> = numbers
            .zip(sizes)
            .flat_map(|(number, size)| bodies(number..number + 1, size))
            .collect();
        // More small messages than the buffer may hold.
        batch.extend(bodies(0..200, 1000));
        append(&mut writer, &batch).unwrap();
        all.append(&mut batch);
        assert_eq!(read_all(writer.log()), all);
    }
}

#[test]
fn a_batch_in_memory_that_fails_leaves_nothing_although_its_large_messages_were_written() {
    let mut writer = Writer::in_memory(LogOptions {
        first_segment_bytes: 1 << 20,
        max_segment_bytes: 1 << 20,
    });
    let mut all = bodies(0..3, 5000);
    append(&mut writer, &all).unwrap();
    // Memory of zeros that is never touched.
    let too_large = vec![0; (1 << 30) + 1];
    let large = vec![7; 10_000];
    let failing = [record(&large), record(b"small"), record(&too_large)];
    for _ in 0..2 {
        let end = writer.end();
        assert!(writer.append(failing.into_iter()).is_err());
        assert_eq!(writer.end(), end);
        assert_eq!(read_all(writer.log()), all);
        let next = bodies(10..14, 6000);
        append(&mut writer, &next).unwrap();
        all.extend(next);
        assert_eq!(read_all(writer.log()), all);
    }
}
