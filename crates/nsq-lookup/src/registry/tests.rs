use super::*;

const INACTIVE: Duration = Duration::from_mins(5);
const TOMBSTONE: Duration = Duration::from_secs(45);
const A_MOMENT: Duration = Duration::from_millis(1);

struct World {
    registry: Registry,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let visibility = Visibility {
            inactive_producer_timeout: INACTIVE,
            tombstone_lifetime: TOMBSTONE,
        };
        Self {
            registry: Registry::new(visibility),
            now: Instant::now(),
        }
    }

    fn connect(&mut self, name: &str) -> NodeId {
        self.registry.connect(node(name), self.now)
    }

    fn register(&mut self, id: NodeId, topic: &str, channel: &str) -> Added {
        let channel = ChannelName::parse(channel).ok();
        self.registry.register(id, &t(topic), channel.as_ref())
    }

    fn disconnect(&mut self, id: NodeId) {
        while self.registry.disconnect(id, 1).is_some() {}
    }

    /// `channels / producers` of a topic, or `unknown`.
    fn seen(&self, topic: &str) -> String {
        let Some(lookup) = self.registry.lookup(topic, self.now) else {
            return "unknown".into();
        };
        let channels: Vec<&str> = lookup.channels.iter().map(ChannelName::as_str).collect();
        let producers: Vec<&str> = lookup
            .producers
            .iter()
            .map(|n| n.hostname.as_str())
            .collect();
        format!("{} / {}", channels.join(" "), producers.join(" "))
    }

    /// Counted a topic at a time.
    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.registry.tally_page(from, 1, self.now, &mut tally);
        }
        tally
    }

    /// `node: topic topic+` for each active node, `+` for a tombstone.
    fn nodes(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut cursor = Cursor::default();
        while let Some((report, next)) = self.registry.next_node(cursor, self.now) {
            let mut topics = report.topics;
            topics.sort();
            let topics = topics
                .iter()
                .map(|(name, hidden)| format!(" {name}{}", if *hidden { "+" } else { "" }));
            all.push(format!(
                "{}:{}",
                report.node.hostname,
                topics.collect::<String>()
            ));
            cursor = next;
        }
        all
    }

    fn topics(&self) -> Vec<String> {
        let mut page = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.registry.topics_page(from, 2, &mut page);
        }
        page.sort();
        page.iter().map(ToString::to_string).collect()
    }
}

fn node(name: &str) -> Node {
    Node {
        remote_address: format!("1.2.3.4:{name}"),
        hostname: name.into(),
        broadcast_address: format!("{name}.example"),
        tcp_port: 4150,
        http_port: 4151,
        ..Node::default()
    }
}

fn t(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn c(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

#[test]
fn a_channel_brings_its_topic_along() {
    let mut world = World::new();
    let a = world.connect("a");
    let both = Added {
        topic: true,
        channel: true,
    };
    assert_eq!(world.register(a, "t", "c1"), both);
    let neither = Added {
        topic: false,
        channel: false,
    };
    assert_eq!(world.register(a, "t", "c1"), neither);
    assert_eq!(
        world.register(a, "u", ""),
        Added {
            topic: true,
            channel: false
        }
    );
    assert_eq!(world.seen("t"), "c1 / a");
    assert_eq!(world.seen("u"), " / a");
    assert_eq!(world.seen("v"), "unknown");
    assert_eq!(world.topics(), ["t", "u"]);
    assert_eq!(world.nodes(), ["a: t u"]);
}

#[test]
fn leaving_a_channel_leaves_the_topic_alone() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t", "c1");
    world.register(a, "t", "c2#ephemeral");
    assert!(world.registry.unregister_channel(a, &t("t"), &c("c1")));
    assert!(!world.registry.unregister_channel(a, &t("t"), &c("c1")));
    assert!(!world.registry.unregister_channel(a, &t("x"), &c("c1")));
    assert_eq!(world.seen("t"), "c1 c2#ephemeral / a");
    assert!(
        world
            .registry
            .unregister_channel(a, &t("t"), &c("c2#ephemeral"))
    );
    assert_eq!(world.seen("t"), "c1 / a");
}

#[test]
fn leaving_a_topic_leaves_its_channels_registered() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t#ephemeral", "c#ephemeral");
    let removed = world.registry.unregister_topic(a, &t("t#ephemeral"));
    assert!(removed.was_on_topic);
    assert_eq!(removed.channels, [c("c#ephemeral")]);
    assert_eq!(world.seen("t#ephemeral"), "unknown");
    assert_eq!(world.registry.channels("t#ephemeral"), [c("c#ephemeral")]);
    // The channel's own UNREGISTER comes late and still cleans up.
    assert!(
        !world
            .registry
            .unregister_channel(a, &t("t#ephemeral"), &c("c#ephemeral"))
    );
    assert_eq!(world.registry.channels("t#ephemeral"), []);
    assert!(world.registry.by_name.is_empty());
}

#[test]
fn a_lost_connection_deletes_nothing() {
    let mut world = World::new();
    let (a, b) = (world.connect("a"), world.connect("b"));
    for topic in ["t1", "t2", "t3#ephemeral"] {
        world.register(a, topic, "c#ephemeral");
    }
    world.register(b, "t1", "");
    world.disconnect(a);
    assert_eq!(world.seen("t1"), "c#ephemeral / b");
    assert_eq!(world.seen("t3#ephemeral"), "c#ephemeral / ");
    assert_eq!(world.topics(), ["t1", "t2", "t3#ephemeral"]);
    assert_eq!(world.nodes(), ["b: t1"]);
    // The number is used again, and nothing of its former bearer is left.
    assert_eq!(world.connect("d"), a);
    assert_eq!(world.nodes(), ["d:", "b: t1"]);
}

#[test]
fn a_silent_node_is_hidden_until_its_next_ping() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t", "");
    world.now += INACTIVE;
    assert_eq!(world.seen("t"), " / a");
    world.now += A_MOMENT;
    assert_eq!(world.seen("t"), " / ");
    assert!(world.nodes().is_empty());
    assert_eq!(world.registry.dump_nodes().entries.len(), 1);
    assert_eq!(world.registry.ping(a, world.now), INACTIVE + A_MOMENT);
    assert_eq!(world.seen("t"), " / a");
}

#[test]
fn a_tombstone_hides_a_node_from_one_topic_for_a_while() {
    let mut world = World::new();
    let (a, b) = (world.connect("a"), world.connect("b"));
    for topic in ["t", "u"] {
        world.register(a, topic, "");
        world.register(b, topic, "");
    }
    world.registry.tombstone("t", "a.example:4151", world.now);
    world.registry.tombstone("t", "nobody:4151", world.now);
    world
        .registry
        .tombstone("nothing", "a.example:4151", world.now);
    assert_eq!(world.seen("t"), " / b");
    assert_eq!(world.seen("u"), " / a b");
    assert_eq!(world.nodes(), ["a: t+ u", "b: t u"]);
    let tally = Tally {
        topics: 2,
        channels: 0,
        producers: 4,
        tombstoned_producers: 1,
    };
    assert_eq!(world.tally(), tally);
    // Saying it again changes nothing, so it stays hidden.
    world.register(a, "t", "");
    assert_eq!(world.seen("t"), " / b");
    world.now += TOMBSTONE;
    assert_eq!(world.seen("t"), " / a b");
    assert_eq!(world.tally().tombstoned_producers, 0);
    assert_eq!(world.registry.node_counts(world.now), (2, 0));
    world.now += INACTIVE + A_MOMENT;
    assert_eq!(world.registry.node_counts(world.now), (2, 2));
}

#[test]
fn leaving_and_coming_back_lifts_a_tombstone() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t", "");
    world.registry.tombstone("t", "a.example:4151", world.now);
    world.registry.unregister_topic(a, &t("t"));
    assert_eq!(world.seen("t"), " / ");
    world.register(a, "t", "");
    assert_eq!(world.seen("t"), " / a");
}

#[test]
fn a_deleted_topic_is_gone_until_it_is_registered_again() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t", "c");
    world.register(a, "u", "");
    assert_eq!(world.registry.delete_topic("t"), Some(vec![c("c")]));
    assert_eq!(world.registry.delete_topic("t"), None);
    assert_eq!(world.registry.delete_topic("*"), None);
    assert_eq!(world.seen("t"), "unknown");
    assert_eq!(world.nodes(), ["a: u"]);
    world.register(a, "t", "");
    assert_eq!(world.seen("t"), " / a");
    world.disconnect(a);
}

#[test]
fn what_is_created_needs_no_node() {
    let mut world = World::new();
    world.registry.create_topic(&t("t"));
    world.registry.create_channel(&t("u"), &c("c"));
    assert_eq!(world.seen("t"), " / ");
    assert_eq!(world.seen("u"), "c / ");
    assert!(world.registry.delete_channel("u", "c"));
    assert!(!world.registry.delete_channel("u", "c"));
    assert!(!world.registry.delete_channel("x", "c"));
    assert_eq!(world.seen("u"), " / ");
}

#[test]
fn a_dump_shows_registrations_with_somebody_on_them() {
    let mut world = World::new();
    let a = world.connect("a");
    world.register(a, "t", "c");
    world.registry.create_channel(&t("t"), &c("empty"));
    world.registry.create_topic(&t("u"));
    world.registry.tombstone("t", "a.example:4151", world.now);
    let mut page = Vec::new();
    assert_eq!(
        world.registry.dump_page(Cursor::default(), 100, &mut page),
        None
    );
    let keys: Vec<_> = page
        .iter()
        .map(|d| (d.topic.clone(), d.channel.clone()))
        .collect();
    assert_eq!(keys, [(Some(t("t")), None), (Some(t("t")), Some(c("c")))]);
    assert_eq!(page[0].entries[0].tombstoned_at, Some(world.now));
    assert_eq!(page[1].entries[0].tombstoned_at, None);
}
