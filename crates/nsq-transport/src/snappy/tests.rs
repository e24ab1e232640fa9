//! Chunks as other encoders write them, and damaged ones.

use super::*;

/// Unpacks all of `input` in pieces of `step` bytes, into buffers of `room` bytes.
fn unpack(input: &[u8], step: usize, room: usize) -> io::Result<Vec<u8>> {
    let mut snappy = Snappy::default();
    let mut unpacked = Vec::new();
    let mut waiting = Vec::new();
    for piece in input.chunks(step) {
        waiting.extend_from_slice(piece);
        loop {
            let mut room = vec![0; room];
            let mut buffer = ReadBuf::new(&mut room);
            let outcome = snappy.decode(&waiting, &mut buffer)?;
            waiting.drain(..outcome.used);
            unpacked.extend_from_slice(buffer.filled());
            if outcome.need == Need::Input {
                break;
            }
        }
    }
    Ok(unpacked)
}

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let [first, second, third, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[kind, first, second, third], body].concat()
}

fn stream(chunks: &[Vec<u8>]) -> Vec<u8> {
    [STREAM_IDENTIFIER, &chunks.concat()].concat()
}

fn with_checksum(content: &[u8], packed: &[u8]) -> Vec<u8> {
    [&masked_checksum(content).to_le_bytes(), packed].concat()
}

#[test]
fn a_known_stream_is_written_to_the_byte() {
    let mut snappy = Snappy::default();
    let mut output = Vec::new();
    snappy.encode(b"NOP\n", &mut output);
    // Checksum and layout as golang/snappy writes them.
    assert_eq!(
        output,
        stream(&[chunk(UNCOMPRESSED, &with_checksum(b"NOP\n", b"NOP\n"))])
    );
    // The check value of CRC-32C, masked.
    let unmasked = 0xe306_9283_u32;
    assert_eq!(
        masked_checksum(b"123456789"),
        unmasked.rotate_right(15).wrapping_add(0xa282_ead8)
    );
    output.clear();
    snappy.encode(&[b'a'; 1000], &mut output);
    assert_eq!(output[0], COMPRESSED);
    assert!(output.len() < 100);
}

#[test]
fn a_stream_may_begin_again_anywhere_and_skips_what_it_must_not_know() {
    let hello = chunk(UNCOMPRESSED, &with_checksum(b"hello", b"hello"));
    let padding = chunk(0xfe, &vec![7; 70_000]);
    let input = stream(&[
        hello.clone(),
        STREAM_IDENTIFIER.to_vec(),
        padding,
        hello,
        chunk(0x80, b""),
    ]);
    for step in [1, 2, 11, input.len()] {
        for room in [1, 3, 100] {
            assert_eq!(unpack(&input, step, room).unwrap(), b"hellohello");
        }
    }
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let hello = with_checksum(b"hello", b"hello");
    let mut wrong_sum = hello.clone();
    wrong_sum[0] ^= 1;
    let bomb = raw::Encoder::new()
        .compress_vec(&vec![0; CHUNK_BYTES + 1])
        .unwrap();
    let garbage = with_checksum(b"", b"\x05\xff\xff\xff");
    for (chunks, why) in [
        (vec![chunk(UNCOMPRESSED, &wrong_sum)], "checksum is wrong"),
        (vec![chunk(UNCOMPRESSED, b"abc")], "a length that none"),
        (
            vec![chunk(UNCOMPRESSED, &vec![0; CHUNK_BYTES + 5])],
            "a length that none",
        ),
        (
            vec![chunk(COMPRESSED, &vec![0; MAX_BODY_BYTES + 1])],
            "a length that none",
        ),
        (
            vec![chunk(COMPRESSED, &with_checksum(b"", &bomb))],
            "more than 64 KiB",
        ),
        (vec![chunk(COMPRESSED, &garbage)], "snappy: corrupt input"),
        (vec![chunk(IDENTIFIER, b"sNaPpy")], "does not begin"),
        (vec![chunk(IDENTIFIER, b"sNaPpYY")], "a length that none"),
        (vec![chunk(0x02, b"")], "unknown type"),
        (vec![chunk(0x7f, b"")], "unknown type"),
    ] {
        let error = unpack(&stream(&chunks), 7, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(why), "{error}: not {why}");
    }
    let error = unpack(&chunk(UNCOMPRESSED, &hello), 7, 100).unwrap_err();
    assert!(error.to_string().contains("does not begin"), "{error}");
}
