//! Units, and streams that are none.

use super::*;

fn unpack(deflate: &mut Deflate, input: &[u8], room: usize) -> io::Result<Vec<u8>> {
    let (mut used, mut unpacked) = (0, Vec::new());
    loop {
        let mut room = vec![0; room];
        let mut buffer = ReadBuf::new(&mut room);
        let outcome = deflate.decode(&input[used..], &mut buffer)?;
        used += outcome.used;
        unpacked.extend_from_slice(buffer.filled());
        if outcome.need == Need::Input {
            assert_eq!(used, input.len());
            return Ok(unpacked);
        }
    }
}

#[test]
fn each_unit_ends_in_a_sync_marker_and_can_be_read_at_once() {
    for level in 1..=9 {
        let (mut here, mut there) = (Deflate::new(level), Deflate::new(level));
        for length in [1, 100, 70_000, 1_000_000, 3] {
            let unit: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0] / 3).collect();
            let mut packed = Vec::new();
            here.encode(&unit, &mut packed).unwrap();
            here.end_unit(&mut packed).unwrap();
            assert!(packed.ends_with(&[0, 0, 0xff, 0xff]));
            let room = if length > 1000 { 10_000 } else { 1 };
            assert!(unpack(&mut there, &packed, room).unwrap() == unit);
        }
    }
}

#[test]
fn a_stream_that_is_ended_has_an_end_and_garbage_is_refused() {
    let mut packed = Vec::with_capacity(100);
    Compress::new(Compression::new(6), false)
        .compress_vec(b"last words", &mut packed, flate2::FlushCompress::Finish)
        .unwrap();
    let mut deflate = Deflate::new(6);
    assert_eq!(unpack(&mut deflate, &packed, 100).unwrap(), b"last words");
    assert!(deflate.has_ended());

    let error = unpack(&mut Deflate::new(6), &[0xff; 10], 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
