//! Fuzz bodies of nsqadmin: what nsqds and nsqlookupds answer.

use std::sync::Arc;

use super::fetch::Object;
use super::producer::Introduction;
use super::{Channel, NodeStats, Peek, Producer, Topic};
use crate::pages::peek::body;

/// The answers of nsqds and nsqlookupds: each is added up over two nodes that give the same answer, written as JSON, and
/// shown.
pub fn answers(bytes: &[u8]) {
    let read = || serde_json::from_slice::<Object<NodeStats>>(bytes).ok();
    if let (Some(Object(one)), Some(Object(other))) = (read(), read()) {
        sum(one, other);
    }
    if let Ok(Object(peek)) = serde_json::from_slice::<Object<Peek>>(bytes) {
        for message in peek.queued.iter().chain(&peek.deferred) {
            let bytes = body::decode(&message.body);
            let _ = body::show(bytes.as_deref(), message.body_size, message.truncated);
        }
    }
    if let Ok(introductions) = serde_json::from_slice::<Vec<Introduction>>(bytes) {
        let mut producers: Vec<_> = introductions.into_iter().map(Producer::from).collect();
        Producer::mark_out_of_date(&mut producers);
        let newest = producers.iter().filter(|producer| !producer.out_of_date);
        assert!(producers.is_empty() || newest.count() > 0);
        for producer in &mut producers {
            producer.add_report("lookupd:4161", "");
            assert!(
                producer
                    .topics
                    .iter()
                    .is_sorted_by(|a, b| a.topic <= b.topic)
            );
            serde_json::to_string(producer).expect("names and numbers are always JSON");
        }
    }
}

fn sum(mut one: NodeStats, mut other: NodeStats) {
    let producer = Producer::default();
    one.place(&"one:4151".into(), &producer);
    other.place(&"other:4151".into(), &producer);
    let count = one.topics.len();
    for (first, second) in one.topics.iter().zip(&other.topics) {
        let name = &first.topic_name;
        let sum = Topic::of_many(name, [Arc::clone(first), Arc::clone(second)]);
        assert_eq!(sum.depth, first.depth.saturating_add(second.depth));
        assert_eq!(sum.nodes.len(), 2);
        serde_json::to_string(&sum).expect("names and numbers are always JSON");
        for part in &first.channels {
            let mut channel = Channel::of_many(name, &part.channel_name);
            channel.add(Arc::clone(part));
            channel.sort();
            assert_eq!(channel.depth, part.depth);
            serde_json::to_string(&channel).expect("names and numbers are always JSON");
        }
    }
    assert_eq!(count, other.topics.len());
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn answers_of_the_corpus() {
        replay("answers", super::answers);
    }
}
