//! Tests of the directory: what each change does, and that replicas agree whatever happens to them.

mod changes;
mod machine;
mod registry;

use std::collections::{BTreeMap, BTreeSet};

use nsq_protocol::{ChannelName, TopicName};
use proptest::prelude::*;

use super::*;

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn info(address: &str) -> MemberInfo {
    MemberInfo {
        address: address.to_owned(),
        broadcast_address: "host".to_owned(),
        tcp_port: 4150,
        http_port: 4151,
        version: "1.3.0".to_owned(),
        entry_format: 1,
        joined: 5,
    }
}

fn address(number: u64) -> String {
    format!("n{number}:4152")
}

/// A cluster of nodes 1 to `count`, which has no shards yet.
fn founded(count: u64) -> Directory {
    let members = (1..=count).map(|number| (NodeId(number), info(&address(number))));
    let mut directory = Directory::default();
    let change = Change::Found {
        cluster: ClusterId(9),
        members: members.collect(),
    };
    assert_eq!(directory.apply(&change), Outcome::Done(1));
    directory
}

fn create(directory: &mut Directory, name: &str, channels: &[&str]) -> u64 {
    let change = Change::CreateTopic {
        topic: topic(name),
        channels: channels.iter().map(|name| channel(name)).collect(),
    };
    index_of(directory.apply(&change))
}

fn delete(directory: &mut Directory, name: &str) -> u64 {
    index_of(directory.apply(&Change::DeleteTopic(topic(name))))
}

fn index_of(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Done(index) => index,
        other => panic!("{other:?}"),
    }
}

fn refusal(directory: &mut Directory, change: &Change) -> Refused {
    let before = directory.clone();
    match directory.apply(change) {
        Outcome::Refused(why) => {
            assert_eq!(
                *directory, before,
                "a refused change has an effect: {change:?}"
            );
            why
        }
        other => panic!("{change:?} is not refused: {other:?}"),
    }
}

/// What holds in every directory.
fn check_invariants(directory: &Directory) {
    let is_member = |node: &NodeId| directory.members.contains_key(node);
    let mut owners = BTreeSet::new();
    for (number, shard) in &directory.shards {
        assert!(*number < directory.next_shard);
        assert!(shard.replicas.iter().all(is_member), "{shard:?}");
        assert!(shard.owner.iter().all(is_member), "{shard:?}");
        assert!(
            shard.owner.is_none_or(|owner| owners.insert(owner)),
            "{shard:?}"
        );
        let unique: BTreeSet<_> = shard.replicas.iter().collect();
        assert_eq!(unique.len(), shard.replicas.len());
        assert!(shard.created_at <= directory.index);
    }
    let addresses: BTreeSet<_> = directory
        .members
        .values()
        .map(|member| &member.info.address)
        .collect();
    assert_eq!(addresses.len(), directory.members.len());
    assert!(
        directory
            .members
            .keys()
            .all(|node| node.0 < directory.next_node)
    );
    let names = directory
        .topics
        .iter()
        .map(|(_, topic)| 1 + topic.channels.len());
    assert_eq!(names.sum::<usize>(), directory.topics.name_count());
    let tombstones = directory.topics.tombstones();
    assert_eq!(tombstones.iter().count(), tombstones.len());
}

fn node() -> impl Strategy<Value = NodeId> {
    (0..8u64).prop_map(NodeId)
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    prop_oneof![4 => "[tuv]", 1 => Just("t#ephemeral".to_owned())].prop_map(|name| topic(&name))
}

fn channel_name() -> impl Strategy<Value = ChannelName> {
    prop_oneof![4 => "[cd]", 1 => Just("c#ephemeral".to_owned())].prop_map(|name| channel(&name))
}

fn member_info() -> impl Strategy<Value = MemberInfo> {
    (1..9u64, 0..3u32).prop_map(|(number, entry_format)| MemberInfo {
        entry_format,
        ..info(&if number == 8 {
            String::new()
        } else {
            address(number)
        })
    })
}

fn change() -> impl Strategy<Value = Change> {
    let nodes = || prop::collection::vec(node(), 0..4);
    let shard = || 0..7u64;
    let member = (member_info(), 0..5u128, prop::option::of(node()));
    let found = prop::collection::btree_map(node(), member_info(), 0..4);
    prop_oneof![
        1 => found.prop_map(|members| Change::Found { cluster: ClusterId(9), members }),
        3 => member.prop_map(|(info, token, replaces)| Change::AddMember { info, token, replaces }),
        1 => (node(), member_info()).prop_map(|(node, info)| Change::UpdateMember { node, info }),
        1 => (node(), "[ab]?").prop_map(|(node, zone)| Change::SetZone { node, zone }),
        1 => node().prop_map(Change::RemoveMember),
        3 => node().prop_map(|owner| Change::CreateShard { owner }),
        3 => (shard(), nodes()).prop_map(|(shard, replicas)| Change::PlaceShard { shard, replicas }),
        3 => (shard(), nodes()).prop_map(|(shard, voters)| Change::RecordVoters {
            shard,
            voters: voters.into_iter().collect(),
        }),
        1 => (shard(), prop::option::of(node()))
            .prop_map(|(shard, owner)| Change::SetOwner { shard, owner }),
        1 => shard().prop_map(Change::RetireShard),
        3 => (topic_name(), prop::collection::vec(channel_name(), 0..3))
            .prop_map(|(topic, channels)| Change::CreateTopic { topic, channels }),
        2 => topic_name().prop_map(Change::DeleteTopic),
        2 => (topic_name(), channel_name())
            .prop_map(|(topic, channel)| Change::CreateChannel(topic, channel)),
        2 => (topic_name(), channel_name())
            .prop_map(|(topic, channel)| Change::DeleteChannel(topic, channel)),
    ]
}
