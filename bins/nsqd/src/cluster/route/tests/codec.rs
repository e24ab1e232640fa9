//! Forwarded publishes and their answers come back as they were, and garbage is an error.

use bytes::Bytes;

use super::fakes::topic;
use crate::cluster::route::codec::{
    Outcome, Publish, decode_answer, decode_call, encode_answer, encode_call,
};

fn publishes() -> Vec<Publish> {
    let publish = |name, due, bodies: &[&str]| {
        let bodies = &mut bodies.iter().map(|body| body.as_bytes());
        Publish::new(topic(name), 3, due, bodies)
    };
    vec![
        publish("a", None, &["one", "", "three"]),
        publish("a", None, &[""]),
        publish("b.c", Some(i64::MIN), &["deferred"]),
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Stored,
        Outcome::NotLeading,
        Outcome::NoTopic,
        Outcome::Full,
        Outcome::Refused("no".to_owned()),
        Outcome::Unconfirmed("lost".to_owned()),
    ]
}

#[test]
fn publishes_and_outcomes_come_back_as_they_were() {
    let publishes = publishes();
    assert_eq!(
        decode_call(encode_call(publishes.iter())).unwrap(),
        publishes
    );
    let bodies: Vec<&[u8]> = publishes[0].bodies().collect();
    assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
    assert_eq!(publishes[0].bodies().len(), 3);
    let outcomes = outcomes();
    assert_eq!(decode_answer(encode_answer(&outcomes)).unwrap(), outcomes);
}

#[test]
fn a_text_is_cut_at_a_character() {
    let long = "ä".repeat(2000);
    let outcomes = decode_answer(encode_answer(&[Outcome::Refused(long)])).unwrap();
    assert_eq!(outcomes, [Outcome::Refused("ä".repeat(512))]);
}

/// Every prefix of `whole` is refused, and so is every longer one.
fn check_lengths<T>(
    whole: &Bytes,
    decode: impl Fn(Bytes) -> Result<T, nsq_cluster::codec::DecodeError>,
) {
    for end in 0..whole.len() {
        assert!(decode(whole.slice(..end)).is_err(), "{end}");
    }
    let longer = [whole, &b"x"[..]].concat();
    assert!(decode(longer.into()).is_err());
}

#[test]
fn what_is_cut_short_or_too_long_is_refused() {
    check_lengths(&encode_call(publishes().iter()), decode_call);
    check_lengths(&encode_answer(&outcomes()), decode_answer);
}

#[test]
fn counts_and_names_that_cannot_be_are_refused() {
    let call = |bytes: &[u8]| decode_call(Bytes::copy_from_slice(bytes)).unwrap_err();
    let texts = [
        // Another version, a count beyond the bytes, a name that is none, no messages.
        call(b"\x02\0\0\0\0"),
        call(b"\x01\xff\xff\xff\xff"),
        call(b"\x01\x01\0\0\0\x01\0\0\0 \0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"),
        call(b"\x01\x01\0\0\0\x01\0\0\0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        texts,
        [
            "the version of forwarded publishes 2 is unknown to this version of nsqd",
            "the publishes is cut short",
            "a topic is not valid",
            "a publish without messages is not valid",
        ]
    );
    let answer = decode_answer(Bytes::from_static(b"\x01\x01\0\0\0\0\x01\0\0\0x"));
    answer.unwrap_err();
}
