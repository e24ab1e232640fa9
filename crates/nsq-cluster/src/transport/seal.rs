//! What shows that a frame is whole, and from whom it is: a checksum, or encryption with a key of the connection.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hmac;

/// Seals frames of one direction, in their order, or checks them.
pub(crate) enum Seal {
    /// CRC-32: the connection itself keeps others out.
    Checksum,
    /// AES-256-GCM: what follows the head is encrypted, and a tag of 16 bytes is of head and body. The counter is part of both,
    /// so that no frame can be repeated, left out or exchanged. (A tag alone, of bytes that are not encrypted, takes ring three
    /// times as long.)
    Encryption { key: Box<LessSafeKey>, counter: u64 },
}

impl Seal {
    /// With a key that both sides derive from the secret and the handshake.
    pub(crate) fn with_key(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the algorithm's length");
        Self::Encryption {
            key: Box::new(LessSafeKey::new(key)),
            counter: 0,
        }
    }

    /// Bytes that follow a frame.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Checksum => 4,
            Self::Encryption { .. } => 16,
        }
    }

    /// Seals the next frame, whose head has `head_bytes`.
    pub(crate) fn seal(&mut self, frame: &mut Vec<u8>, head_bytes: usize) {
        match self {
            Self::Checksum => {
                let checksum = crc32fast::hash(frame);
                frame.extend_from_slice(&checksum.to_le_bytes());
            }
            Self::Encryption { key, counter } => {
                let (head, body) = frame.split_at_mut(head_bytes);
                let tag = key
                    .seal_in_place_separate_tag(next_nonce(counter), Aad::from(&*head), body)
                    .expect("a frame has less than the 64 GiB that can be encrypted");
                frame.extend_from_slice(tag.as_ref());
            }
        }
    }

    /// Opens the next frame in its place; `false` if `seal` is not the frame's. The connection must be closed then.
    pub(crate) fn open(&mut self, frame: &mut [u8], head_bytes: usize, seal: &[u8]) -> bool {
        match self {
            Self::Checksum => crc32fast::hash(frame).to_le_bytes() == *seal,
            Self::Encryption { key, counter } => {
                let Ok(tag) = Tag::try_from(seal) else {
                    return false;
                };
                let (head, body) = frame.split_at_mut(head_bytes);
                let nonce = next_nonce(counter);
                let opened =
                    key.open_in_place_separate_tag(nonce, Aad::from(&*head), tag, body, 0..);
                opened.is_ok()
            }
        }
    }
}

fn next_nonce(counter: &mut u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    *counter += 1;
    Nonce::assume_unique_for_key(nonce)
}

/// What the holder of the secret says about the handshake so far, for one purpose.
pub(crate) fn proof(secret: &[u8], purpose: &str, transcript: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose.as_bytes());
    context.update(&[0]);
    context.update(transcript);
    let tag = context.sign();
    tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether two proofs are equal, in a time that does not depend on where they differ.
pub(crate) fn is_same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let differences = left.iter().zip(right).map(|(left, right)| left ^ right);
    std::hint::black_box(differences.fold(0, |all, one| all | one)) == 0
}

/// Bytes that no one can guess.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    use ring::rand::{SecureRandom as _, SystemRandom};
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &mut Seal, frame: &[u8]) -> Vec<u8> {
        let mut bytes = frame.to_vec();
        seal.seal(&mut bytes, 4);
        bytes
    }

    #[test]
    fn a_frame_that_was_changed_repeated_or_left_out_is_noticed() {
        let key = [7; 32];
        let mut sender = Seal::with_key(&key);
        let frames: Vec<_> = (0..3)
            .map(|number| sealed(&mut sender, &[number; 20]))
            .collect();
        let opened = |receiver: &mut Seal, sealed: &[u8]| {
            let (frame, tag) = sealed.split_at(20);
            let mut frame = frame.to_vec();
            let is_whole = receiver.open(&mut frame, 4, tag);
            is_whole.then_some(frame)
        };
        let check = |order: &[usize]| {
            let mut receiver = Seal::with_key(&key);
            order.iter().all(|at| {
                let number = u8::try_from(*at).unwrap();
                opened(&mut receiver, &frames[*at]) == Some(vec![number; 20])
            })
        };
        assert!(check(&[0, 1, 2]));
        assert!(!check(&[0, 0]));
        assert!(!check(&[0, 2]));
        for at in 0..frames[0].len() {
            let mut changed = frames[0].clone();
            changed[at] ^= 1;
            assert_eq!(opened(&mut Seal::with_key(&key), &changed), None);
        }
        assert_eq!(opened(&mut Seal::with_key(&[8; 32]), &frames[0]), None);
        assert!(
            frames[1][4..20].iter().any(|byte| *byte != 1),
            "the body is readable"
        );
    }

    #[test]
    fn a_checksum_finds_damage() {
        let bytes = sealed(&mut Seal::Checksum, b"frame");
        assert!(Seal::Checksum.open(&mut bytes[..5].to_vec(), 4, &bytes[5..]));
        assert!(!Seal::Checksum.open(&mut b"frbme".to_vec(), 4, &bytes[5..]));
    }

    #[test]
    fn proofs_depend_on_secret_purpose_and_transcript() {
        let proof_of =
            |secret: &[u8], purpose, transcript: &[u8]| proof(secret, purpose, transcript);
        let one = proof_of(b"secret", "a", b"t");
        assert!(is_same(&one, &proof_of(b"secret", "a", b"t")));
        assert!(!is_same(&one, &proof_of(b"Secret", "a", b"t")));
        assert!(!is_same(&one, &proof_of(b"secret", "b", b"t")));
        assert!(!is_same(&one, &proof_of(b"secret", "a", b"u")));
    }
}
