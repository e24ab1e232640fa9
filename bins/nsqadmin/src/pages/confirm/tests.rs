use std::sync::Arc;
use std::time::Duration;

use super::losses::Losses;
use super::*;
use crate::cluster::{Channel, List, Topic, Warnings};

fn part(node: &str, depth: i64, channels: &[(&str, i64)]) -> Arc<Topic> {
    let channels = channels.iter().map(|(name, depth)| {
        Arc::new(Channel {
            channel_name: (*name).into(),
            depth: *depth,
            in_flight_count: 1,
            deferred_count: 2,
            client_count: 3,
            ..Channel::default()
        })
    });
    Arc::new(Topic {
        node: node.into(),
        topic_name: "t".into(),
        depth,
        channels: List::from(channels.collect::<Vec<_>>()),
        ..Topic::default()
    })
}

fn overview() -> Overview {
    let parts = [
        part("a:1", 10, &[("c", 100), ("d", 0)]),
        part("b:1", 5, &[("c", 50)]),
    ];
    Overview {
        taken_at: jiff::Timestamp::UNIX_EPOCH,
        took: Duration::ZERO,
        lookupds: Vec::new(),
        nodes: Vec::new(),
        topics: vec![Arc::new(Topic::of_many("t", parts))],
        inactive_topics: Vec::new(),
        warnings: Warnings::default(),
        unregistered: None,
    }
}

fn parsed(action: &str, channel: Option<&str>, node: Option<&str>) -> Action {
    Action::parse(action, Some("t"), channel, node).expect("an action")
}

fn text(action: &Action) -> String {
    Losses::of(action, &overview()).render().into_string()
}

#[test]
fn what_would_be_lost_is_counted_where_it_is() {
    for (action, channel, node, messages) in [
        ("empty", None, None, 15),
        ("empty", None, Some("b:1"), 5),
        ("empty", Some("c"), None, 156),
        ("empty", Some("c"), Some("a:1"), 103),
        ("delete", Some("c"), None, 156),
        // A topic is never deleted on one node alone.
        ("delete", Some("c"), Some("a:1"), 156),
        ("delete", None, None, 174),
        ("tombstone", None, Some("b:1"), 58),
        ("pause", Some("c"), None, 0),
        ("delete", Some("unknown"), None, 0),
    ] {
        let losses = Losses::of(&parsed(action, channel, node), &overview());
        assert_eq!(losses.messages(), messages, "{action} {channel:?} {node:?}");
    }
}

#[test]
fn the_words_name_nodes_channels_and_consumers() {
    let words = text(&parsed("delete", None, None));
    for word in [
        "174 messages",
        "165 waiting",
        "9 consumers",
        "2 channels will be deleted: c, d",
        "2 nodes: a:1, b:1",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let words = text(&parsed("empty", Some("c"), None));
    assert!(!words.contains("cut off"), "{words}");
    assert!(text(&parsed("pause", Some("d"), None)).contains("On 1 node: a:1"));
}

#[test]
fn a_name_is_typed_only_where_something_would_be_lost() {
    let overview = overview();
    assert_eq!(
        parsed("delete", None, None).has_to_type(&overview),
        Some("t")
    );
    assert_eq!(
        parsed("empty", Some("c"), None).has_to_type(&overview),
        Some("c")
    );
    assert_eq!(
        parsed("tombstone", None, Some("a:1")).has_to_type(&overview),
        Some("t")
    );
    assert_eq!(
        parsed("empty", Some("unknown"), None).has_to_type(&overview),
        None
    );
    assert_eq!(parsed("pause", None, None).has_to_type(&overview), None);
}

#[test]
fn unknown_actions_are_refused() {
    for (action, topic, channel, node) in [
        ("", Some("t"), None, None),
        ("burn", Some("t"), None, None),
        ("delete", None, None, None),
        ("create", Some("t"), None, None),
        ("tombstone", Some("t"), None, None),
        ("tombstone", Some("t"), Some("c"), Some("a:1")),
        ("create-channel", Some("t"), Some("c"), None),
    ] {
        assert_eq!(
            Action::parse(action, topic, channel, node),
            None,
            "{action}"
        );
    }
    assert_eq!(
        Action::parse("create", None, None, None),
        Some(Action::CreateTopic)
    );
}
