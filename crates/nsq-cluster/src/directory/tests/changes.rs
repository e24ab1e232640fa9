//! What each change does to the table.

use super::*;
use crate::codec::Wire;

#[test]
fn a_directory_is_founded_once_and_refuses_everything_before() {
    let mut directory = Directory::default();
    let change = Change::DeleteTopic(topic("t"));
    assert_eq!(refusal(&mut directory, &change), Refused::NotFounded);
    let mut directory = founded(3);
    assert_eq!(directory.members.len(), 3);
    let again = Change::Found {
        cluster: ClusterId(8),
        members: BTreeMap::from([(NodeId(1), info("x:1"))]),
    };
    assert_eq!(refusal(&mut directory, &again), Refused::AlreadyFounded);
}

fn add(directory: &mut Directory, address: &str, token: u128, replaces: Option<u64>) -> Outcome {
    directory.apply(&Change::AddMember {
        info: info(address),
        token,
        replaces: replaces.map(NodeId),
    })
}

#[test]
fn the_same_join_proposed_twice_gives_one_member() {
    let mut directory = founded(3);
    let first = add(&mut directory, "x:1", 77, None);
    assert_eq!(first, Outcome::Member(NodeId(4)));
    assert_eq!(add(&mut directory, "x:1", 77, None), first);
    assert_eq!(directory.members.len(), 4);
}

#[test]
fn an_address_belongs_to_one_member() {
    let mut directory = founded(3);
    let taken = Refused::AddressTaken {
        node: NodeId(2),
        address: address(2),
    };
    assert_eq!(
        add(&mut directory, &address(2), 1, None),
        Outcome::Refused(taken.clone())
    );
    assert_eq!(
        add(&mut directory, &address(2), 1, Some(3)),
        Outcome::Refused(taken.clone())
    );
    let update = Change::UpdateMember {
        node: NodeId(3),
        info: info(&address(2)),
    };
    assert_eq!(refusal(&mut directory, &update), taken);
}

fn shard_with(directory: &mut Directory, replicas: &[u64], voters: &[u64]) -> u64 {
    let owner = NodeId(replicas[0]);
    let Outcome::Shard(shard) = directory.apply(&Change::CreateShard { owner }) else {
        panic!("no shard");
    };
    let replicas: Vec<_> = replicas.iter().copied().map(NodeId).collect();
    index_of(directory.apply(&Change::PlaceShard { shard, replicas }));
    record(directory, shard, &[owner.0]);
    record(directory, shard, voters);
    shard
}

fn record(directory: &mut Directory, shard: u64, voters: &[u64]) {
    let voters = voters.iter().copied().map(NodeId).collect();
    index_of(directory.apply(&Change::RecordVoters { shard, voters }));
}

#[test]
fn a_wiped_node_takes_over_the_shard_and_the_places_of_the_one_it_was() {
    let mut directory = founded(3);
    let own = shard_with(&mut directory, &[2, 1, 3], &[1, 2, 3]);
    let other = shard_with(&mut directory, &[1, 2], &[1, 2]);
    assert_eq!(
        add(&mut directory, &address(2), 5, Some(2)),
        Outcome::Member(NodeId(4))
    );
    assert!(directory.is_former(NodeId(2)));
    let shard = &directory.shards[&own];
    assert_eq!(shard.owner, Some(NodeId(4)));
    assert_eq!(shard.replicas, [4, 1, 3].map(NodeId));
    // Node 2 is a voter of the group until the group's leader has another one.
    assert_eq!(shard.voters, [1, 2, 3].map(NodeId).into());
    assert_eq!(directory.shards[&other].replicas, [1, 4].map(NodeId));
    check_invariants(&directory);
    let removed = Change::PlaceShard {
        shard: own,
        replicas: vec![NodeId(2)],
    };
    let why = refusal(&mut directory, &removed);
    assert_eq!(why, Refused::NoSuchMember(NodeId(2)));
}

#[test]
fn a_shard_whose_only_voter_was_wiped_is_given_up_and_one_not_formed_yet_is_not() {
    let mut directory = founded(3);
    let shard = shard_with(&mut directory, &[2, 1, 3], &[2]);
    add(&mut directory, &address(2), 5, Some(2));
    assert!(directory.is_retired(shard));
    let owner = NodeId(4);
    let next = shard + 1;
    assert_eq!(
        directory.apply(&Change::CreateShard { owner }),
        Outcome::Shard(next)
    );
    add(&mut directory, &address(2), 6, Some(4));
    assert_eq!(directory.group_creator(next), Some(NodeId(5)));
}

#[test]
fn only_its_creator_begins_a_group_and_alone() {
    let mut directory = founded(3);
    let owner = NodeId(2);
    directory.apply(&Change::CreateShard { owner });
    let voters = |nodes: &[u64]| Change::RecordVoters {
        shard: 1,
        voters: nodes.iter().copied().map(NodeId).collect(),
    };
    for wrong in [&[1][..], &[1, 2]] {
        let why = refusal(&mut directory, &voters(wrong));
        assert_eq!(why, Refused::InvalidVoters(1));
    }
    record(&mut directory, 1, &[2]);
    record(&mut directory, 1, &[1, 2]);
    record(&mut directory, 1, &[1]);
    assert_eq!(
        refusal(&mut directory, &voters(&[])),
        Refused::InvalidVoters(1)
    );
}

#[test]
fn a_removed_member_leaves_a_shard_without_owner_that_can_be_retired() {
    let mut directory = founded(3);
    let shard = shard_with(&mut directory, &[2, 1, 3], &[1, 2, 3]);
    let owner = NodeId(2);
    let used = refusal(&mut directory, &Change::RetireShard(shard));
    assert_eq!(used, Refused::HasOwner { shard, owner });
    index_of(directory.apply(&Change::RemoveMember(owner)));
    assert_eq!(directory.shards[&shard].owner, None);
    assert_eq!(directory.shards[&shard].replicas, [1, 3].map(NodeId));
    assert!(!directory.is_retired(shard));
    index_of(directory.apply(&Change::RetireShard(shard)));
    assert!(directory.is_retired(shard));
    index_of(directory.apply(&Change::RetireShard(shard)));
    let owner = NodeId(1);
    assert_eq!(
        directory.apply(&Change::CreateShard { owner }),
        Outcome::Shard(shard + 1)
    );
}

#[test]
fn a_shard_that_only_the_removed_member_had_is_given_up() {
    let mut directory = founded(3);
    let shard = shard_with(&mut directory, &[2, 1], &[2]);
    index_of(directory.apply(&Change::RemoveMember(NodeId(2))));
    assert!(directory.is_retired(shard));
}

#[test]
fn the_last_member_stays() {
    let mut directory = founded(2);
    index_of(directory.apply(&Change::RemoveMember(NodeId(1))));
    let why = refusal(&mut directory, &Change::RemoveMember(NodeId(2)));
    assert_eq!(why, Refused::LastMember(NodeId(2)));
}

#[test]
fn a_node_owns_one_shard() {
    let mut directory = founded(2);
    let owner = NodeId(1);
    assert_eq!(
        directory.apply(&Change::CreateShard { owner }),
        Outcome::Shard(1)
    );
    let why = refusal(&mut directory, &Change::CreateShard { owner });
    assert_eq!(why, Refused::HasShard { owner, shard: 1 });
}

#[test]
fn the_entry_format_is_what_every_member_reads() {
    let mut directory = founded(2);
    assert_eq!(directory.entry_format(), 1);
    for (node, entry_format) in [(1, 4), (2, 3)] {
        let info = MemberInfo {
            entry_format,
            joined: 99,
            ..info(&address(node))
        };
        let node = NodeId(node);
        index_of(directory.apply(&Change::UpdateMember { node, info }));
        assert_eq!(directory.members[&node].info.joined, 5);
    }
    assert_eq!(directory.entry_format(), 3);
}

#[test]
fn a_topic_is_created_once_with_its_channels() {
    let mut directory = founded(1);
    let created = create(&mut directory, "t", &["c"]);
    assert_eq!(create(&mut directory, "t", &[]), created);
    let more = create(&mut directory, "t", &["c", "d"]);
    assert_eq!(more, created + 1);
    assert_eq!(create(&mut directory, "t", &["d"]), more);
    assert_eq!(
        directory.topics.channel(&topic("t"), &channel("c")),
        Some(created)
    );
    assert_eq!(
        directory.topics.channel(&topic("t"), &channel("d")),
        Some(more)
    );
    assert_eq!(directory.topics.name_count(), 3);
}

#[test]
fn deletions_are_remembered_past_a_new_creation() {
    let mut directory = founded(1);
    create(&mut directory, "t", &["c"]);
    let gone = Change::DeleteChannel(topic("t"), channel("c"));
    let channel_gone = index_of(directory.apply(&gone));
    let deleted_at =
        |directory: &Directory| directory.channel_deleted_at(&topic("t"), &channel("c"));
    assert_eq!(deleted_at(&directory), Some(channel_gone));
    create(&mut directory, "t", &["c"]);
    assert_eq!(deleted_at(&directory), Some(channel_gone));
    let topic_gone = delete(&mut directory, "t");
    assert_eq!(deleted_at(&directory), None);
    create(&mut directory, "t", &["c"]);
    assert_eq!(directory.topic_deleted_at(&topic("t")), Some(topic_gone));
    assert_eq!(directory.topics.tombstones().len(), 1);
}

#[test]
fn what_does_not_exist_or_is_ephemeral_is_refused_by_name() {
    let mut directory = founded(1);
    for change in [
        Change::DeleteTopic(topic("t")),
        Change::DeleteChannel(topic("t"), channel("c")),
        Change::CreateChannel(topic("t"), channel("c")),
    ] {
        assert_eq!(
            refusal(&mut directory, &change),
            Refused::NoSuchTopic(topic("t"))
        );
    }
    create(&mut directory, "t", &[]);
    let change = Change::DeleteChannel(topic("t"), channel("c"));
    let why = refusal(&mut directory, &change);
    assert_eq!(why, Refused::NoSuchChannel(topic("t"), channel("c")));
    let change = Change::CreateChannel(topic("t"), channel("c#ephemeral"));
    assert!(matches!(
        refusal(&mut directory, &change),
        Refused::Ephemeral(_)
    ));
}

#[test]
fn the_oldest_tombstones_are_forgotten_and_it_is_known_up_to_where() {
    let mut directory = founded(1);
    let mut deleted = Vec::new();
    for number in 0..=super::super::tombstones::MAX_TOMBSTONES {
        let name = format!("t{number}");
        create(&mut directory, &name, &[]);
        deleted.push(delete(&mut directory, &name));
    }
    let tombstones = directory.topics.tombstones();
    assert_eq!(tombstones.len(), super::super::tombstones::MAX_TOMBSTONES);
    assert_eq!(tombstones.forgotten(), deleted[0]);
    assert_eq!(directory.topic_deleted_at(&topic("t0")), None);
    assert_eq!(directory.topic_deleted_at(&topic("t1")), Some(deleted[1]));
    check_invariants(&directory);
    assert_eq!(Directory::from_bytes(directory.to_bytes()), Ok(directory));
}

proptest! {
    #[test]
    fn any_changes_keep_the_invariants_and_no_number_is_used_twice(
        changes in prop::collection::vec(change(), 0..60),
    ) {
        let mut directory = founded(3);
        let mut nodes: BTreeSet<_> = directory.members.keys().copied().collect();
        let mut shards = BTreeSet::new();
        for change in changes {
            let before = directory.clone();
            let outcome = directory.apply(&change);
            match outcome {
                Outcome::Refused(_) => prop_assert_eq!(&before, &directory),
                _ => prop_assert!(directory.index == before.index + 1 || directory == before),
            }
            check_invariants(&directory);
            for node in directory.members.keys() {
                prop_assert!(nodes.insert(*node) || before.members.contains_key(node));
            }
            for shard in directory.shards.keys() {
                prop_assert!(shards.insert(*shard) || before.shards.contains_key(shard));
            }
            prop_assert_eq!(Outcome::from_bytes(outcome.to_bytes()), Ok(outcome));
        }
        prop_assert_eq!(Directory::from_bytes(directory.to_bytes()), Ok(directory));
    }

    #[test]
    fn a_change_comes_back_as_it_went_and_damage_is_no_panic(change in change(), cut: usize, flip: usize) {
        let bytes = change.to_bytes();
        prop_assert_eq!(Change::from_bytes(bytes.clone()), Ok(change));
        let cut = cut % bytes.len();
        let _ = Change::from_bytes(bytes.slice(..cut));
        let mut flipped = bytes.to_vec();
        flipped[cut] ^= 1 << (flip % 8);
        if let Ok(other) = Change::from_bytes(flipped.into()) {
            prop_assert_eq!(Change::from_bytes(other.to_bytes()), Ok(other));
        }
    }
}

#[test]
fn a_directory_without_zones_is_written_as_nodes_read_it_that_do_not_know_zones() {
    let mut directory = founded(3);
    let version = |directory: &Directory| directory.to_bytes()[0];
    assert_eq!(version(&directory), 1);
    let node = *directory.members.first_key_value().unwrap().0;
    let set = |zone: &str| Change::SetZone {
        node,
        zone: zone.to_owned(),
    };
    let (named, unnamed, too_long) = (set("a"), set(""), set(&"z".repeat(201)));
    directory.apply(&named);
    assert!(directory.has_zones());
    assert_eq!(version(&directory), 2);
    assert_eq!(
        Directory::from_bytes(directory.to_bytes()),
        Ok(directory.clone())
    );
    let index = directory.index;
    assert_eq!(directory.apply(&named), Outcome::Done(index), "again");
    assert!(matches!(
        directory.apply(&too_long),
        Outcome::Refused(Refused::InvalidMember(_))
    ));
    directory.apply(&unnamed);
    assert_eq!(version(&directory), 1);
}
