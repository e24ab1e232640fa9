//! Topics coming and going.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nsq_protocol::{ChannelName, TopicName};

use super::opening::in_parallel;
use crate::error::{NotInFlight, PublishError, StoreError, SubscribeError};
use crate::testing::{ALICE, BOB, SECOND, TestBroker, finish_all};

#[test]
fn topics_and_channels_come_back_with_or_without_nsqd_dat() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    let paused = house.channel("t", "paused");
    paused.lock().set_paused(true);
    house.topic("u");
    house.channel("e#ephemeral", "c");
    house.channel("t", "c#ephemeral");
    house.restart();
    house.topic("made-since");
    house.channel("u", "made.since");
    house.kill();
    let names: Vec<_> = house
        .broker()
        .topics()
        .iter()
        .map(|topic| topic.name().to_string())
        .collect();
    assert_eq!(names, ["made-since", "t", "u"]);
    assert!(house.channel("t", "paused").lock().is_paused());
    assert!(house.topic("t").channel("c#ephemeral").is_none());
    assert!(house.topic("u").channel("made.since").is_some());
}

/// Several threads open them.
#[test]
fn hundreds_of_topics_come_back_each_with_its_own() {
    let mut house = TestBroker::new();
    let names: Vec<_> = (0..300).map(|number| format!("t{number:03}")).collect();
    for name in &names {
        house.channel(name, "c");
        house.publish(name, &[name]);
    }
    house.kill();
    let topics = house.broker().topics();
    let found: Vec<_> = topics.iter().map(|topic| topic.name().as_str()).collect();
    assert_eq!(found, names);
    for name in &names {
        let cell = house.channel(name, "c");
        house.subscribe(&cell, ALICE, 1);
        assert_eq!(house.bodies(&cell, ALICE), [name.as_str()]);
    }
}

#[test]
fn what_several_threads_do_is_all_done_or_fails() {
    let numbers = || (0..1000).collect::<Vec<_>>();
    for threads in [1, 4] {
        let mut doubled =
            in_parallel(numbers(), threads, |number| Ok::<_, String>(2 * number)).unwrap();
        doubled.sort_unstable();
        assert_eq!(
            doubled,
            (0..1000).map(|number| 2 * number).collect::<Vec<_>>()
        );
        let begun = AtomicUsize::new(0);
        let failed = in_parallel(numbers(), threads, |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if number == 7 { Err("seven") } else { Ok(()) }
        });
        assert_eq!(failed, Err("seven"));
        if threads == 1 {
            assert_eq!(begun.into_inner(), 8);
        }
    }
}

#[test]
fn a_deleted_topic_stays_deleted() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish("t", &["a"]);
    house.broker().delete_topic("t");
    house.kill();
    assert!(house.broker().topic("t").is_none());
}

/// A kill between the deletion and the next write of `nsqd.dat`, which so still names what was deleted.
#[test]
fn what_was_deleted_does_not_come_back_empty() {
    let mut house = TestBroker::new();
    for (topic, channel) in [
        ("t.topic.1", "c"),
        ("u", "c.channel"),
        ("u", "kept"),
        ("v", "c"),
    ] {
        house.channel(topic, channel);
        house.publish(topic, &["a"]);
    }
    house.broker().save_metadata().unwrap();
    house.broker().delete_topic("t.topic.1");
    house.topic("u").delete_channel("c.channel");
    house.broker().delete_topic("v");
    house.channel("v", "made-again");
    // Twice, since nsqd.dat is not written in between either.
    for _ in 0..2 {
        house.kill();
        assert!(house.broker().topic("t.topic.1").is_none());
        assert!(house.topic("u").channel("c.channel").is_none());
        assert_eq!(house.channel("u", "kept").lock().depth(), 1);
        assert!(house.topic("v").channel("made-again").is_some());
    }
}

#[test]
fn files_of_what_was_deleted_go_once_nsqd_dat_is_written() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.channel("u", "c");
    let before = house.path().join("topics").read_dir().unwrap().count();
    house.topic("u").delete_channel("c");
    house.broker().delete_topic("u");
    house.kill();
    let count = |house: &TestBroker| house.path().join("topics").read_dir().unwrap().count();
    assert_eq!(count(&house), before);
    house.broker().save_metadata().unwrap();
    assert_eq!(count(&house), before - 1);
}

#[test]
fn an_ephemeral_channel_goes_with_its_last_client_and_takes_the_topic_along() {
    let house = TestBroker::new();
    let topic = house.topic("t#ephemeral");
    let cell = house.channel("t#ephemeral", "c#ephemeral");
    house.subscribe(&cell, ALICE, 1);
    house.subscribe(&cell, BOB, 1);
    let left = cell.lock().unsubscribe(ALICE);
    house.broker().client_left(&topic, &cell, left);
    assert!(topic.channel("c#ephemeral").is_some());
    let left = cell.lock().unsubscribe(BOB);
    house.broker().client_left(&topic, &cell, left);
    assert!(topic.channel("c#ephemeral").is_none());
    assert!(house.broker().topic("t#ephemeral").is_none());
}

#[test]
fn a_client_that_subscribes_while_the_last_one_leaves_keeps_the_channel() {
    let house = TestBroker::new();
    let topic = house.topic("t#ephemeral");
    let cell = house.channel("t#ephemeral", "c#ephemeral");
    house.subscribe(&cell, ALICE, 1);
    let left = cell.lock().unsubscribe(ALICE);
    house.subscribe(&cell, BOB, 1);
    house.broker().client_left(&topic, &cell, left);
    assert!(topic.channel("c#ephemeral").is_some());
    assert!(house.broker().topic("t#ephemeral").is_some());
    assert!(house.bells.closed.lock().unwrap().is_empty());
}

#[test]
fn a_late_farewell_does_not_delete_the_next_channel_of_that_name() {
    let house = TestBroker::new();
    let topic = house.topic("t#ephemeral");
    let old = house.channel("t#ephemeral", "c#ephemeral");
    house.subscribe(&old, ALICE, 1);
    topic.delete_channel("c#ephemeral");
    let new = house.channel("t#ephemeral", "c#ephemeral");
    let left = old.lock().unsubscribe(ALICE);
    house.broker().client_left(&topic, &old, left);
    assert!(Arc::ptr_eq(&topic.channel("c#ephemeral").unwrap(), &new));
}

#[test]
fn a_lasting_channel_keeps_an_ephemeral_topic_alive() {
    let house = TestBroker::new();
    let topic = house.topic("t#ephemeral");
    let cell = house.channel("t#ephemeral", "c");
    house.subscribe(&cell, ALICE, 1);
    let left = cell.lock().unsubscribe(ALICE);
    house.broker().client_left(&topic, &cell, left);
    house.broker().drop_if_unused(&topic);
    assert!(house.broker().topic("t#ephemeral").is_some());
    topic.delete_channel("c");
    house.broker().drop_if_unused(&topic);
    assert!(house.broker().topic("t#ephemeral").is_none());
    assert!(matches!(
        topic.get_or_create_channel(&ChannelName::try_from("c").unwrap(), house.now),
        Err(StoreError::Exiting)
    ));
}

#[test]
fn subscribing_to_what_goes_is_retried_and_never_lost() {
    let house = TestBroker::new();
    let topic_name = TopicName::try_from("t#ephemeral").unwrap();
    let name = ChannelName::try_from("c#ephemeral").unwrap();
    std::thread::scope(|scope| {
        for client in 1..=3_u32 {
            let (house, topic_name, name) = (&house, &topic_name, &name);
            scope.spawn(move || {
                let client = crate::ClientId(client);
                for _ in 0..500 {
                    let broker = house.broker();
                    let (topic, cell) = loop {
                        let (topic, _) = broker
                            .get_or_create_topic(topic_name, false, house.now)
                            .unwrap();
                        let Ok(cell) = topic.get_or_create_channel(name, house.now) else {
                            continue;
                        };
                        let joined = cell.lock().subscribe(house.subscription(client), 0);
                        match joined {
                            Ok(()) => break (topic, cell),
                            Err(SubscribeError::Exiting) => {}
                            Err(error) => panic!("{error}"),
                        }
                    };
                    assert!(!cell.lock().is_exiting());
                    let current = broker
                        .topic(topic_name.as_str())
                        .and_then(|topic| topic.channel(name.as_str()));
                    assert!(
                        Arc::ptr_eq(&current.unwrap(), &cell),
                        "joined a dying channel"
                    );
                    let left = cell.lock().unsubscribe(client);
                    broker.client_left(&topic, &cell, left);
                }
            });
        }
    });
    assert!(house.broker().topics().is_empty());
}

#[test]
fn an_exiting_broker_refuses_but_forgets_nothing() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["a"]);
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    house.broker().save_metadata().unwrap();
    house.broker().close(house.now);
    assert_eq!(*house.bells.closed.lock().unwrap(), [ALICE]);
    let refused = house
        .topic("t")
        .publish([b"x".as_slice()].into_iter(), house.now);
    assert!(refused.is_err());
    let new = TopicName::try_from("new").unwrap();
    let made = house.broker().get_or_create_topic(&new, false, house.now);
    assert!(matches!(made, Err(StoreError::Exiting)));
    // What was finished in the last moment stays finished.
    cell.lock().finish(ALICE, got[0].id, house.now).unwrap();
    house.kill();
    assert_eq!(house.channel("t", "c").lock().depth(), 0);
}

#[test]
fn only_topics_in_which_something_happened_need_upkeep() {
    let house = TestBroker::new();
    for topic in ["b", "a", "c"] {
        house.channel(topic, "c");
    }
    let used = || {
        let topics = house.broker().used_topics().into_iter();
        topics
            .map(|topic| topic.name().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(used(), ["a", "b", "c"]);
    for topic in house.broker().topics() {
        assert!(topic.maintain(house.now));
    }
    assert_eq!(used(), [""; 0]);
    house.publish("b", &["1"]);
    assert_eq!(used(), ["b"]);
}

#[test]
fn a_failed_write_shows_in_the_health_until_one_succeeds() {
    let house = TestBroker::new();
    house.channel("t", "c");
    assert_eq!(house.broker().health(), "OK");
    let folder = house.topic_folder("t");
    let aside = house.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let refused = house
        .topic("t")
        .publish([b"x".as_slice()].into_iter(), house.now);
    assert!(refused.is_err());
    assert!(house.broker().health().starts_with("NOK - "));
    assert_eq!(house.topic("t").stats().message_count, 0);
    std::fs::rename(&aside, &folder).unwrap();
    house.publish("t", &["a"]);
    assert_eq!(house.broker().health(), "OK");
}

#[test]
fn a_channels_timer_is_armed_when_it_is_opened_and_when_something_is_deferred() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish_deferred("t", "a", 10 * SECOND);
    let due = house.now.tick.after(10 * SECOND);
    assert_eq!(*house.notes.armed.lock().unwrap(), [due]);
    house.publish_deferred("t", "b", 20 * SECOND);
    assert_eq!(
        house.notes.armed.lock().unwrap().len(),
        1,
        "an earlier look is planned"
    );
    house.publish_deferred("t", "c", 5 * SECOND);
    assert_eq!(house.notes.armed.lock().unwrap().len(), 2);
    house.kill();
    let left = 4 * SECOND;
    assert_eq!(
        house.notes.armed.lock().unwrap()[2..],
        [house.now.tick.after(left)]
    );
}

#[test]
fn a_timer_that_an_earlier_one_overtook_does_nothing() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    let [early, late] = [1, 5].map(crate::time::Tick::from_nanos);
    cell.arm(late);
    cell.arm(early);
    assert_eq!(house.planned(), [late, early]);
    // The early one plans the next, and both that were planned for then run down.
    assert!(cell.handle_timer(early, house.now));
    cell.arm(late);
    assert!(cell.handle_timer(late, house.now));
    assert!(
        !cell.handle_timer(late, house.now),
        "one timer would be two from now on"
    );
}

#[test]
fn a_resigned_broker_leaves_its_data_path_to_the_next_one_even_if_clients_still_call_it() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    let topic = house.topic("t");
    house.publish("t", &["a", "b"]);
    house.subscribe(&cell, ALICE, 2);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[..1]);
    house.broker().resign(house.now);
    assert!(house.bells.closed.lock().unwrap().is_empty());
    house.open();

    let finished = cell.lock().finish(ALICE, got[1].id, house.now);
    assert_eq!(finished, Err(NotInFlight::Unknown));
    assert_eq!(house.take(&cell, ALICE), []);
    let published = topic.publish([b"late".as_slice()].into_iter(), house.now);
    assert!(matches!(published, Err(PublishError::Exiting)));
    topic.sync(house.now).unwrap();
    assert_eq!(cell.lock().unsubscribe(ALICE), 0);

    let next = house.channel("t", "c");
    house.subscribe(&next, BOB, 5);
    assert_eq!(house.bodies(&next, BOB), ["b"]);
}

#[test]
fn a_broker_that_gave_its_data_path_to_a_replica_writes_nothing_there_any_more() {
    let house = TestBroker::with(|settings| settings.is_replicated = true);
    house.broker().save_metadata().unwrap();
    house.broker().resign(house.now);
    let path = house.settings.data_path.join("nsqd.dat");
    std::fs::write(&path, "the replica's").unwrap();
    house.broker().save_metadata().unwrap();
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept, "the replica's");
}

#[test]
fn a_client_that_leaves_a_deleted_topic_changes_nothing_of_the_next_topic_of_its_name() {
    let house = TestBroker::new();
    let cell = house.channel("t", "e#ephemeral");
    let topic = house.topic("t");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["old"]);
    assert!(house.broker().delete_topic("t"));
    house.channel("t", "c");
    house.publish("t", &["a", "b"]);
    let files = || {
        let entries = std::fs::read_dir(house.topic_folder("t")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    let before = files();
    let left = cell.lock().unsubscribe(ALICE);
    house.broker().client_left(&topic, &cell, left);
    assert!(!topic.delete_channel("e#ephemeral"));
    assert_eq!(files(), before);
}
