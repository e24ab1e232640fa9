//! Every format comes back as it went, and nothing else is taken for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::{GroupId, Member, NodeId};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogId { term, index })
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, is_committed)| Vote {
        term,
        node: NodeId(node),
        is_committed,
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let nodes = prop::collection::btree_map(any::<u64>(), "[a-z0-9.:]{0,20}", 0..6);
    (nodes, any::<u8>()).prop_map(|(nodes, which)| {
        let nodes: BTreeMap<_, _> = nodes
            .into_iter()
            .map(|(node, address)| (NodeId(node), Member { address }))
            .collect();
        let voters = |skip: usize| nodes.keys().copied().skip(skip).collect::<BTreeSet<_>>();
        let voters = (0..usize::from(which % 3)).map(voters).collect();
        Membership { voters, nodes }
    })
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn body() -> impl Strategy<Value = EntryBody> {
    let batch = prop::collection::vec(bytes(40), 0..6).prop_map(|proposals| {
        let mut batch = BatchBuilder::default();
        for proposal in &proposals {
            batch.push(proposal);
        }
        EntryBody::Proposals(batch.build())
    });
    prop_oneof![
        Just(EntryBody::Blank),
        batch,
        membership().prop_map(EntryBody::Membership)
    ]
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let file = ("[a-z.]{1,8}x(/[a-z]{1,8}){0,3}", any::<u64>(), any::<u64>()).prop_map(
        |(name, bytes, fingerprint)| ManifestFile {
            name,
            bytes,
            fingerprint,
        },
    );
    (prop::collection::vec(file, 0..5), bytes(20))
        .prop_map(|(files, note)| Manifest { files, note })
}

fn request() -> impl Strategy<Value = Request> {
    let optional = || prop::option::of(log_id());
    let group = any::<u64>().prop_map(GroupId);
    let entries = prop::collection::vec((any::<u64>(), body()), 0..5);
    let previous = prop::option::of((any::<u64>(), 0..u64::MAX / 2));
    let append = (group, vote(), previous, optional(), entries).prop_map(
        |(group, vote, previous, committed, entries)| {
            let previous = previous.map(|(term, index)| LogId { term, index });
            let first = previous.map_or(0, |previous| previous.index + 1);
            let entries = entries.into_iter().zip(first..);
            let entries = entries.map(|((term, body), index)| Entry {
                id: LogId { term, index },
                body,
            });
            Request::Append {
                group,
                vote,
                previous,
                committed,
                entries: entries.collect(),
            }
        },
    );
    let ask = (vote(), optional(), any::<bool>(), any::<bool>()).prop_map(
        |(vote, last, is_pre_vote, is_transfer)| Request::Vote {
            group: GroupId(3),
            vote,
            last,
            is_pre_vote,
            is_transfer,
        },
    );
    let transfer = (vote(), any::<u64>(), optional()).prop_map(|(from, to, last)| {
        let (group, to) = (GroupId::DIRECTORY, NodeId(to));
        Request::Transfer {
            group,
            from,
            to,
            last,
        }
    });
    let checkpoint = (
        vote(),
        optional(),
        optional(),
        membership(),
        any::<u64>(),
        manifest(),
    )
        .prop_map(
            |(vote, last, membership_id, membership, transfer, manifest)| Request::Checkpoint {
                group: GroupId(1),
                vote,
                last,
                membership_id,
                membership,
                transfer,
                manifest,
            },
        );
    let chunk = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u32>()).prop_map(
        |(transfer, file, offset, bytes)| Request::Chunk {
            transfer,
            file,
            offset,
            bytes,
        },
    );
    let call = bytes(50).prop_map(|body| Request::Call {
        group: GroupId(9),
        body,
    });
    prop_oneof![append, ask, transfer, checkpoint, chunk, call]
}

fn answer() -> impl Strategy<Value = Answer> {
    let optional = || prop::option::of(log_id());
    let append = prop_oneof![
        Just(AppendAnswer::Success),
        optional().prop_map(AppendAnswer::Partial),
        Just(AppendAnswer::Conflict),
        vote().prop_map(AppendAnswer::HigherVote),
    ];
    let transfer = prop_oneof![
        Just(TransferAnswer::Accepted),
        (vote(), vote())
            .prop_map(|(expected, actual)| TransferAnswer::VoteChanged { expected, actual }),
        (optional(), optional())
            .prop_map(|(expected, actual)| TransferAnswer::NotFlushed { expected, actual }),
    ];
    let refusal = prop_oneof![
        Just(Refusal::NoSuchGroup),
        Just(Refusal::Busy),
        Just(Refusal::NoSuchTransfer),
        "\\PC{0,30}".prop_map(Refusal::Failed),
    ];
    let granted =
        (vote(), optional(), any::<bool>()).prop_map(|(vote, last, is_granted)| Answer::Vote {
            vote,
            last,
            is_granted,
        });
    prop_oneof![
        append.prop_map(Answer::Append),
        granted,
        transfer.prop_map(Answer::Transfer),
        vote().prop_map(|vote| Answer::Checkpoint { vote }),
        (any::<u32>(), bytes(60)).prop_map(|(checksum, bytes)| Answer::Chunk { checksum, bytes }),
        bytes(60).prop_map(Answer::Call),
        refusal.prop_map(Answer::Refused),
    ]
}

/// The value comes back, and what is cut off or flipped is refused or another value, but never a panic.
fn check<T: Wire + PartialEq + Debug>(value: &T, cut: usize, flip: usize) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(bytes.clone()).as_ref(), Ok(value));
    let cut = cut % (bytes.len() + 1);
    if let Ok(other) = T::from_bytes(bytes.slice(..cut)) {
        assert_eq!(other.to_bytes(), bytes.slice(..cut));
    }
    if !bytes.is_empty() {
        let mut flipped = bytes.to_vec();
        let at = flip % (bytes.len() * 8);
        flipped[at / 8] ^= 1 << (at % 8);
        let _ = T::from_bytes(flipped.into());
    }
}

proptest! {
    #[test]
    fn requests_come_back_as_they_went(value in request(), cut: usize, flip: usize) {
        check(&value, cut, flip);
    }

    #[test]
    fn answers_come_back_as_they_went(value in answer(), cut: usize, flip: usize) {
        check(&value, cut, flip);
    }

    #[test]
    fn entries_come_back_as_they_went(id in log_id(), body in body(), cut: usize, flip: usize) {
        check(&Entry { id, body }, cut, flip);
    }

    #[test]
    fn whatever_arrives_is_decoded_without_a_panic(bytes in bytes(200)) {
        let _ = Request::from_bytes(bytes.clone());
        let _ = Answer::from_bytes(bytes.clone());
        let _ = Entry::from_bytes(bytes.clone());
        let _ = Manifest::from_bytes(bytes);
    }
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_reserved() {
    let mut bytes = vec![APPEND_KIND];
    bytes.extend_from_slice(&7u64.to_le_bytes());
    let vote = Vote {
        term: 1,
        node: NodeId(2),
        is_committed: true,
    };
    vote.encode(&mut bytes);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    let refused = Request::from_bytes(bytes.into());
    assert_eq!(
        refused,
        Err(DecodeError::CutShort {
            what: "the entries"
        })
    );
}

#[test]
fn a_gap_between_the_entries_of_a_request_is_refused() {
    let entry = |index| Entry {
        id: LogId { term: 1, index },
        body: EntryBody::Blank,
    };
    let request = Request::Append {
        group: GroupId(1),
        vote: Vote {
            term: 1,
            node: NodeId(1),
            is_committed: true,
        },
        previous: Some(LogId { term: 1, index: 4 }),
        committed: None,
        entries: vec![entry(5), entry(7)],
    };
    let refused = Request::from_bytes(request.to_bytes());
    assert_eq!(
        refused,
        Err(DecodeError::Invalid {
            what: "the order of entries"
        })
    );
}

#[test]
fn a_manifest_cannot_name_a_file_outside_of_its_folder() {
    for name in ["../a", "/a", "a/../b", "a//b", "", ".", "a\\b"] {
        let manifest = Manifest {
            files: vec![ManifestFile {
                name: name.to_owned(),
                bytes: 1,
                fingerprint: 0,
            }],
            note: Bytes::new(),
        };
        let refused = Manifest::from_bytes(manifest.to_bytes());
        assert!(refused.is_err(), "{name:?} was taken");
    }
}

#[test]
fn an_entry_of_a_later_version_is_named_as_such() {
    let entry = Entry {
        id: LogId::default(),
        body: EntryBody::Blank,
    };
    let mut bytes = entry.to_bytes().to_vec();
    bytes[0] = 2;
    let error = Entry::from_bytes(bytes.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an entry's version 2 is unknown to this version of nsqd"
    );
}

const APPEND_KIND: u8 = 1;

#[test]
fn an_entry_to_keep_does_not_hold_on_to_the_buffer_it_was_read_into() {
    let mut batch = BatchBuilder::default();
    batch.push(b"small");
    let entry = Entry {
        id: LogId { term: 1, index: 2 },
        body: EntryBody::Proposals(batch.build()),
    };
    let mut frame = Vec::with_capacity(64 << 10);
    entry.encode(&mut frame);
    let frame = Bytes::from(frame);
    let received = Entry::from_bytes(frame.clone()).unwrap();
    let kept = received.to_keep();
    assert_eq!(kept, entry);
    drop(received);
    assert!(frame.is_unique());
}
