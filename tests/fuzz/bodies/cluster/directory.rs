//! Fuzz bodies of nsq-cluster: what nodes say about membership, and the directory with its changes and their outcomes.

use std::fmt::Debug;

use bytes::Bytes;

use crate::bootstrap::{Call, CallAnswer};
use crate::codec::Wire;
use crate::directory::{Change, Directory, Outcome};

/// By the first byte: a call, an answer, a change, an outcome, a whole directory. What decodes comes back from its own
/// encoding, and a change that decodes is applied.
pub fn directory(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let rest = Bytes::copy_from_slice(rest);
    match kind % 5 {
        0 => check::<Call>(rest),
        1 => check::<CallAnswer>(rest),
        2 => {
            check::<Change>(rest.clone());
            if let Ok(change) = Change::from_bytes(rest) {
                let mut directory = Directory::default();
                // The second time it meets what the first time has left.
                for _ in 0..2 {
                    let outcome = directory.apply(&change);
                    check::<Outcome>(outcome.to_bytes());
                }
                check::<Directory>(directory.to_bytes());
            }
        }
        3 => check::<Outcome>(rest),
        _ => check::<Directory>(rest),
    }
}

fn check<T: Wire + PartialEq + Debug>(bytes: Bytes) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(T::from_bytes(value.to_bytes()).as_ref(), Ok(&value));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn directories_of_the_corpus() {
        nsq_replay::replay("directory", super::directory);
    }
}
