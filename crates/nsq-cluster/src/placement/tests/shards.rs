//! Which nodes get the replicas of which shard.

use super::*;

/// Does what the plan says until there is nothing left.
fn settle(directory: &mut Directory, liveness: &BTreeMap<NodeId, Liveness>) {
    for _ in 0..4 {
        let changes = plan(directory, liveness, OPTIONS);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            let outcome = directory.apply(&change);
            assert!(
                !matches!(outcome, Outcome::Refused(_)),
                "{change:?}: {outcome:?}"
            );
        }
    }
    panic!("the plan does not come to rest");
}

fn replicas(directory: &Directory) -> Vec<Vec<u64>> {
    let shards = directory.shards.values();
    shards
        .map(|shard| shard.replicas.iter().map(|node| node.0).collect())
        .collect()
}

fn settled(count: u64) -> Directory {
    let mut directory = founded(count);
    settle(&mut directory, &BTreeMap::new());
    directory
}

#[test]
fn every_member_gets_a_shard_and_every_shard_its_replicas_evenly() {
    assert_eq!(replicas(&settled(1)), [[1]]);
    assert_eq!(replicas(&settled(2)), [[1, 2], [2, 1]]);
    assert_eq!(replicas(&settled(3)), [[1, 2, 3], [2, 1, 3], [3, 1, 2]]);
    for count in 3..20 {
        let directory = settled(count);
        let mut load: BTreeMap<u64, usize> = BTreeMap::new();
        for replicas in replicas(&directory) {
            assert_eq!(replicas.len(), 3);
            for node in replicas {
                *load.entry(node).or_default() += 1;
            }
        }
        let most = load.values().max().unwrap();
        let least = load.values().min().unwrap();
        assert!(most - least <= 1, "{count} nodes: {load:?}");
    }
}

#[test]
fn a_member_that_is_away_for_too_long_is_replaced_by_a_spare_one_if_there_is_one() {
    let mut directory = settled(4);
    let before = replicas(&directory);
    assert_eq!(plan(&directory, &away(&[(2, 299)]), OPTIONS), []);
    settle(&mut directory, &away(&[(2, 300)]));
    for (replicas, before) in replicas(&directory).into_iter().zip(&before) {
        assert!(!replicas.contains(&2));
        assert_eq!(replicas.len(), 3);
        let kept = before.iter().filter(|node| replicas.contains(node)).count();
        assert_eq!(kept, before.iter().filter(|node| **node != 2).count());
    }
    // Its shard comes back with it.
    settle(&mut directory, &BTreeMap::new());
    assert_eq!(directory.shards[&2].replicas[0], NodeId(2));
    assert_eq!(directory.shards[&2].replicas.len(), 3);
    let mut directory = settled(3);
    let before = directory.clone();
    settle(&mut directory, &away(&[(2, 3000)]));
    assert_eq!(directory, before);
}

#[test]
fn a_new_member_fills_what_is_missing_and_gets_a_shard() {
    let mut directory = settled(2);
    let join = Change::AddMember {
        info: info(3),
        token: 1,
        replaces: None,
    };
    assert_eq!(directory.apply(&join), Outcome::Member(NodeId(3)));
    settle(&mut directory, &BTreeMap::new());
    assert_eq!(replicas(&directory), [[1, 2, 3], [2, 1, 3], [3, 1, 2]]);
}

#[test]
fn a_removed_member_is_replaced_or_the_shard_has_fewer_replicas() {
    let mut directory = settled(4);
    for shard in 1..=4 {
        let creator = directory.group_creator(shard).unwrap();
        let voters = BTreeSet::from([creator]);
        directory.apply(&Change::RecordVoters { shard, voters });
        let voters = directory.shards[&shard].replicas.iter().copied().collect();
        directory.apply(&Change::RecordVoters { shard, voters });
    }
    directory.apply(&Change::RemoveMember(NodeId(4)));
    settle(&mut directory, &BTreeMap::new());
    assert_eq!(directory.shards[&4].owner, None);
    for mut replicas in replicas(&directory) {
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 2, 3]);
    }
    directory.apply(&Change::RemoveMember(NodeId(3)));
    settle(&mut directory, &BTreeMap::new());
    for mut replicas in replicas(&directory) {
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 2]);
    }
}

#[test]
fn more_replicas_than_wanted_are_given_up_but_never_the_owners() {
    let mut directory = settled(5);
    let fewer = PlanOptions {
        replicas: 1,
        ..OPTIONS
    };
    for change in plan(&directory, &BTreeMap::new(), fewer) {
        directory.apply(&change);
    }
    assert_eq!(replicas(&directory), [[1], [2], [3], [4], [5]]);
}

#[test]
fn an_empty_directory_has_no_plan() {
    assert_eq!(plan(&Directory::default(), &BTreeMap::new(), OPTIONS), []);
}

/// Nodes 1 and 2 are on one host, 3 and 4 on another, and so on.
fn on_shared_hosts(count: u64) -> Directory {
    let members = (1..=count).map(|node| {
        let broadcast_address = format!("host{}", node.div_ceil(2));
        let info = MemberInfo {
            broadcast_address,
            ..info(node)
        };
        (NodeId(node), info)
    });
    let mut directory = Directory::default();
    directory.apply(&Change::Found {
        cluster: ClusterId(1),
        members: members.collect(),
    });
    directory
}

#[test]
fn replicas_of_a_shard_are_on_different_hosts_if_there_are_enough() {
    for count in 5..14 {
        let mut directory = on_shared_hosts(count);
        settle(&mut directory, &BTreeMap::new());
        for replicas in replicas(&directory) {
            let mut hosts: Vec<_> = replicas.iter().map(|node| node.div_ceil(2)).collect();
            hosts.sort_unstable();
            hosts.dedup();
            assert_eq!(hosts.len(), 3, "{count} nodes: {replicas:?}");
        }
    }
    let mut directory = on_shared_hosts(4);
    settle(&mut directory, &BTreeMap::new());
    for replicas in replicas(&directory) {
        assert_eq!(replicas.len(), 3, "two hosts are better than two replicas");
    }
}

/// Sets the zones of the members, in their order.
fn set_zones(directory: &mut Directory, zones: &[&str]) {
    let members: Vec<_> = directory.members.keys().copied().collect();
    for (node, zone) in members.into_iter().zip(zones) {
        let zone = (*zone).to_owned();
        directory.apply(&Change::SetZone { node, zone });
    }
}

/// For each shard, how many replicas are in each zone.
fn spread(directory: &Directory) -> Vec<BTreeMap<String, usize>> {
    let shards = directory.shards.values();
    shards
        .map(|shard| {
            let mut zones = BTreeMap::new();
            for replica in &shard.replicas {
                let zone = directory.members[replica].zone.clone();
                *zones.entry(zone).or_default() += 1;
            }
            zones
        })
        .collect()
}

#[test]
fn replicas_of_a_shard_are_in_different_zones_also_when_zones_are_told_later() {
    let mut directory = settled(6);
    set_zones(&mut directory, &["a", "a", "b", "b", "c", "c"]);
    for _ in 0..20 {
        settle_slowly(&mut directory, &BTreeMap::new());
    }
    for zones in spread(&directory) {
        assert_eq!(zones.len(), 3, "{zones:?}");
    }
    for (number, shard) in &directory.shards {
        assert_eq!(shard.replicas[0].0, *number, "owners keep their replicas");
    }
    // A zone that is lost leaves two replicas of each shard, which are joined by a third.
    let lost = away(&[(3, 400), (4, 400)]);
    settle_slowly(&mut directory, &lost);
    for shard in directory.shards.values() {
        assert_eq!(shard.replicas.len(), 3);
        assert!(!shard.replicas.iter().any(|node| [3, 4].contains(&node.0)));
    }
}

#[test]
fn nothing_moves_for_a_zone_while_a_replica_is_away_or_without_zones() {
    let mut directory = settled(6);
    let before = directory.clone();
    settle(&mut directory, &BTreeMap::new());
    assert_eq!(directory, before, "no zones, no moves");
    set_zones(&mut directory, &["a", "a", "b", "b", "c", "c"]);
    let everyone_but_one: Vec<_> = (1..=6).map(|node| (node, 10)).collect();
    assert_eq!(plan(&directory, &away(&everyone_but_one), OPTIONS), []);
}

/// As [`settle`], for plans that move one replica of a shard at a time.
fn settle_slowly(directory: &mut Directory, liveness: &BTreeMap<NodeId, Liveness>) {
    for _ in 0..64 {
        let changes = plan(directory, liveness, OPTIONS);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            directory.apply(&change);
        }
    }
    panic!("the plan does not come to rest");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever zones the members are in, and whatever was planned before these were known.
        #[test]
        fn plans_come_to_rest_with_replicas_spread_as_evenly_as_possible(
            zones in prop::collection::vec("[abcd]?", 1..10),
            later in prop::collection::vec("[abcd]?", 1..10),
        ) {
            let count = zones.len() as u64;
            let mut directory = on_own_hosts(count);
            let named: Vec<_> = zones.iter().map(String::as_str).collect();
            settle_slowly(&mut directory, &BTreeMap::new());
            set_zones(&mut directory, &named);
            settle_slowly(&mut directory, &BTreeMap::new());
            check_spread(&directory);
            let named: Vec<_> = later.iter().map(String::as_str).collect();
            set_zones(&mut directory, &named);
            settle_slowly(&mut directory, &BTreeMap::new());
            check_spread(&directory);
        }
    }

    fn on_own_hosts(count: u64) -> Directory {
        let members = (1..=count).map(|node| {
            let info = MemberInfo {
                broadcast_address: format!("host{node}"),
                ..info(node)
            };
            (NodeId(node), info)
        });
        let mut directory = Directory::default();
        directory.apply(&Change::Found {
            cluster: ClusterId(1),
            members: members.collect(),
        });
        directory
    }

    fn check_spread(directory: &Directory) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in directory.members.values() {
            *sizes.entry(&member.zone).or_default() += 1;
        }
        let wanted = OPTIONS.replicas.min(directory.members.len());
        for (shard, zones) in directory.shards.values().zip(spread(directory)) {
            assert_eq!(shard.replicas.len(), wanted);
            let unique: BTreeSet<_> = shard.replicas.iter().collect();
            assert_eq!(unique.len(), wanted);
            assert_eq!(shard.owner, Some(shard.replicas[0]));
            assert_eq!(
                zones.len(),
                wanted.min(sizes.len()),
                "{zones:?} of {sizes:?}"
            );
        }
    }
}
