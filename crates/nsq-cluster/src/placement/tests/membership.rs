//! How a group gets from the members it has to the ones it is to have.

use super::*;

fn nodes(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

/// A group whose leader is the first voter.
struct Group {
    voters: Vec<BTreeSet<NodeId>>,
    learners: BTreeSet<NodeId>,
    present: BTreeSet<NodeId>,
    caught_up: BTreeSet<NodeId>,
    recorded: Option<BTreeSet<NodeId>>,
}

impl Group {
    fn new(voters: &[u64], learners: &[u64]) -> Self {
        let all = (1..10).map(NodeId).collect::<BTreeSet<_>>();
        Self {
            voters: vec![nodes(voters)],
            learners: nodes(learners),
            present: all.clone(),
            caught_up: all,
            recorded: None,
        }
    }

    fn step(&self, voters: &[u64], learners: &[u64]) -> Option<MembershipStep> {
        let all = self.voters.iter().flatten().chain(&self.learners);
        let members = Membership {
            voters: self.voters.clone(),
            nodes: all.map(|node| (*node, Member::default())).collect(),
        };
        let wanted = Wanted {
            voters: nodes(voters),
            learners: nodes(learners),
        };
        let state = GroupState {
            leader: *self.voters[0].first().unwrap(),
            members: &members,
            present: &self.present,
            caught_up: &self.caught_up,
            recorded: self.recorded.as_ref(),
        };
        next_step(&wanted, &state)
    }
}

fn set_voters(voters: &[u64]) -> MembershipStep {
    MembershipStep::SetVoters(nodes(voters))
}

#[test]
fn a_group_grows_by_learners_that_become_voters_once_they_have_caught_up() {
    let mut group = Group::new(&[1], &[]);
    assert_eq!(group.step(&[1], &[]), None);
    assert_eq!(
        group.step(&[1, 2, 3], &[]),
        Some(MembershipStep::AddLearner(NodeId(2)))
    );
    group.learners = nodes(&[2, 3]);
    group.caught_up = nodes(&[1]);
    assert_eq!(group.step(&[1, 2, 3], &[]), None);
    // With two voters, it would need both.
    group.caught_up = nodes(&[1, 3]);
    assert_eq!(group.step(&[1, 2, 3], &[]), None);
    assert_eq!(group.step(&[1, 3], &[2]), Some(set_voters(&[1, 3])));
    // The third one is not there.
    group.present = nodes(&[1, 3]);
    assert_eq!(group.step(&[1, 2, 3], &[]), Some(set_voters(&[1, 3])));
    group.present = nodes(&[1, 2, 3]);
    group.caught_up = nodes(&[1, 2, 3]);
    assert_eq!(group.step(&[1, 2, 3], &[]), Some(set_voters(&[1, 2, 3])));
    assert_eq!(group.step(&[1], &[2, 3]), None);
}

#[test]
fn a_voter_stays_until_its_successor_has_caught_up() {
    let mut group = Group::new(&[1, 2, 3], &[4]);
    group.present = nodes(&[1, 2, 4]);
    group.caught_up = nodes(&[1, 2]);
    assert_eq!(group.step(&[1, 2, 4], &[]), None);
    group.caught_up = nodes(&[1, 2, 4]);
    assert_eq!(group.step(&[1, 2, 4], &[]), Some(set_voters(&[1, 2, 4])));
    let group = Group::new(&[1, 2, 4], &[3]);
    let remove = MembershipStep::Remove(nodes(&[3]));
    assert_eq!(group.step(&[1, 2, 4], &[]), Some(remove));
}

#[test]
fn voters_do_not_change_without_a_majority_of_the_old_and_of_the_new() {
    let mut group = Group::new(&[1, 2, 3], &[4, 5]);
    group.present = nodes(&[1, 4, 5]);
    assert_eq!(group.step(&[1, 4, 5], &[]), None);
    let mut group = Group::new(&[1, 2, 3], &[]);
    group.present = nodes(&[1, 2]);
    assert_eq!(group.step(&[1, 3], &[]), None);
    assert_eq!(group.step(&[1, 2], &[]), Some(set_voters(&[1, 2])));
}

#[test]
fn a_node_that_is_not_there_is_not_added() {
    let mut group = Group::new(&[1, 2], &[]);
    group.present = nodes(&[1, 2]);
    assert_eq!(group.step(&[1, 2, 3], &[]), None);
}

#[test]
fn a_change_that_a_lost_leader_left_half_done_is_completed_first() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    group.voters.push(nodes(&[1, 2, 4]));
    assert_eq!(group.step(&[1, 5], &[]), Some(set_voters(&[1, 2, 4])));
}

#[test]
fn voters_of_a_shard_are_recorded_before_and_the_record_is_cleaned_afterwards() {
    let mut group = Group::new(&[1], &[2, 3]);
    group.recorded = Some(nodes(&[1]));
    let record = |voters: &[u64]| Some(MembershipStep::Record(nodes(voters)));
    assert_eq!(group.step(&[1, 2, 3], &[]), record(&[1, 2, 3]));
    group.recorded = Some(nodes(&[1, 2, 3]));
    assert_eq!(group.step(&[1, 2, 3], &[]), Some(set_voters(&[1, 2, 3])));
    let mut group = Group::new(&[1, 2], &[]);
    group.recorded = Some(nodes(&[1, 2, 9]));
    assert_eq!(group.step(&[1, 2], &[]), record(&[1, 2]));
}

#[test]
fn the_directory_has_an_odd_number_of_voters_and_keeps_those_it_has() {
    let wanted = |count, voters: &[u64], liveness: &[(u64, u64)]| {
        let wanted = directory_voters(&founded(count), &nodes(voters), &away(liveness), OPTIONS);
        assert_eq!(
            wanted.voters.len() + wanted.learners.len(),
            usize::try_from(count).unwrap()
        );
        wanted.voters
    };
    assert_eq!(wanted(1, &[1], &[]), nodes(&[1]));
    assert_eq!(wanted(2, &[1], &[]), nodes(&[1, 2]));
    assert_eq!(wanted(4, &[1, 2, 3, 4], &[]), nodes(&[1, 2, 3]));
    assert_eq!(wanted(4, &[2, 3, 4], &[]), nodes(&[2, 3, 4]));
    assert_eq!(wanted(7, &[3, 4, 5, 6, 7], &[]), nodes(&[3, 4, 5, 6, 7]));
    // Away for a moment or for too long.
    assert_eq!(wanted(4, &[2, 3, 4], &[(3, 10)]), nodes(&[2, 3, 4]));
    assert_eq!(wanted(4, &[2, 3, 4], &[(3, 300)]), nodes(&[1, 2, 4]));
    assert_eq!(wanted(3, &[1, 2, 3], &[(3, 3000)]), nodes(&[1, 2, 3]));
}

/// A group follows whatever is wanted, through any order of nodes coming and going, and never has voters without a majority
/// that was there when they were chosen.
#[test]
fn every_wanted_membership_is_reached_by_single_steps() {
    for seed in 0..2000_u64 {
        let pick = |shift: u64| {
            let bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift;
            let chosen = (1..7).filter(|node| bits >> node & 1 == 1);
            chosen.collect::<Vec<u64>>()
        };
        let (mut voters, wanted, learners) = (pick(8), pick(20), pick(32));
        voters.push(7);
        let mut wanted = wanted;
        wanted.push(7);
        let learners: Vec<_> = learners
            .into_iter()
            .filter(|node| !wanted.contains(node))
            .collect();
        let mut group = Group::new(&voters, &pick(44));
        group
            .learners
            .retain(|node| !group.voters[0].contains(node));
        group.recorded = Some(group.voters[0].clone());
        let mut steps = 0;
        while let Some(step) = group.step(&wanted, &learners) {
            steps += 1;
            assert!(steps < 30, "seed {seed}");
            match step {
                MembershipStep::Record(voters) => group.recorded = Some(voters),
                MembershipStep::AddLearner(node) => assert!(group.learners.insert(node)),
                MembershipStep::SetVoters(voters) => {
                    assert!(
                        group
                            .recorded
                            .as_ref()
                            .is_some_and(|recorded| voters.is_subset(recorded))
                    );
                    let old = std::mem::replace(&mut group.voters, vec![voters.clone()]);
                    let all: BTreeSet<_> = old.into_iter().flatten().collect();
                    assert!(
                        voters
                            .iter()
                            .all(|node| all.contains(node) || group.learners.contains(node))
                    );
                    group.learners.extend(&all);
                    group.learners.retain(|node| !voters.contains(node));
                }
                MembershipStep::Remove(nodes) => {
                    group.learners.retain(|node| !nodes.contains(node));
                }
            }
        }
        assert_eq!(group.voters, [nodes(&wanted)], "seed {seed}");
        assert_eq!(group.learners, nodes(&learners), "seed {seed}");
        assert_eq!(group.recorded, Some(nodes(&wanted)), "seed {seed}");
    }
}

#[test]
fn the_voters_of_the_directory_are_spread_over_zones_and_then_stay() {
    let mut directory = founded(9);
    for (node, zone) in (1..=9).zip(["a", "a", "a", "a", "a", "b", "b", "c", "c"]) {
        let (node, zone) = (NodeId(node), zone.to_owned());
        directory.apply(&Change::SetZone { node, zone });
    }
    let nobody_away = BTreeMap::new();
    let voters = |now: &BTreeSet<NodeId>, liveness: &BTreeMap<NodeId, Liveness>| {
        directory_voters(&directory, now, liveness, OPTIONS).voters
    };
    let first: BTreeSet<_> = (1..=5).map(NodeId).collect();
    let spread = voters(&first, &nobody_away);
    let in_zone = |wanted: &str| {
        let of_zone = |node: &&NodeId| directory.members[node].zone == wanted;
        spread.iter().filter(of_zone).count()
    };
    assert_eq!([in_zone("a"), in_zone("b"), in_zone("c")], [2, 2, 1]);
    assert_eq!(voters(&spread, &nobody_away), spread);
    // A zone that is lost for long enough is replaced by what is left.
    let lost = away(&[(6, 400), (7, 400)]);
    let then = voters(&spread, &lost);
    assert!(!then.contains(&NodeId(6)) && !then.contains(&NodeId(7)));
    assert_eq!(then.len(), 5);
}
