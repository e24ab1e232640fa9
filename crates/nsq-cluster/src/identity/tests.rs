//! The identity file comes back as it was stored, and nothing else passes for one.

use super::*;

fn founder(address: &str) -> MemberInfo {
    MemberInfo {
        address: address.to_owned(),
        broadcast_address: "host".to_owned(),
        tcp_port: 4150,
        http_port: 4151,
        version: "1.3.0".to_owned(),
        entry_format: 1,
        joined: 7,
    }
}

fn identity() -> Identity {
    Identity {
        own_shard: Some(2),
        shards: BTreeSet::from([2, 9]),
        founders: Some(Founders::from([
            (NodeId(1), founder("a:4152")),
            (NodeId(2), founder("b:4152")),
        ])),
        ..Identity::new(ClusterId(0xfeed), NodeId(2))
    }
}

#[test]
fn an_identity_is_read_back_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cluster");
    assert_eq!(Identity::load(&folder).unwrap(), None);
    let mut wanted = identity();
    for own_shard in [None, Some(3)] {
        wanted.own_shard = own_shard;
        wanted.founders = None;
        wanted.store(&folder).unwrap();
        assert_eq!(Identity::load(&folder).unwrap(), Some(wanted.clone()));
    }
    identity().store(&folder).unwrap();
    assert_eq!(Identity::load(&folder).unwrap(), Some(identity()));
}

/// The error for the stored file after `from` was replaced by `to` in it.
fn check(from: &str, to: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    identity().store(folder.path()).unwrap();
    let path = folder.path().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(&path, text.replace(from, to)).unwrap();
    fs::remove_file(folder.path().join(COPY)).unwrap();
    Identity::load(folder.path()).unwrap_err().to_string()
}

#[test]
fn a_damaged_identity_is_refused_with_the_reason() {
    for (from, to, why) in [
        ("\"node_id\": 2", "\"node_id\": 0", "node_id is 0"),
        ("\"node_id\": 2", "\"node_id\": 5", "not among the founders"),
        ("\"own_shard\": 2", "\"own_shard\": 0", "shard 0"),
        ("feed", "feeg", "hexadecimal"),
        ("0000feed", "feed", "hexadecimal"),
        ("\"node_id\"", "\"node\"", "unknown field"),
        ("b:4152", "", "address"),
        ("{\n", "", "is damaged"),
        ("\"version\": 1,\n", "\"version\": 0,\n", "version is 0"),
    ] {
        let error = check(from, to);
        assert!(error.contains(why) && error.contains("damaged"), "{error}");
    }
}

#[test]
fn an_identity_of_a_later_version_is_named_as_such_whatever_fields_it_has() {
    let error = check("\"version\": 1,\n", "\"version\": 2,\n  \"zone\": \"x\",\n");
    assert!(error.contains("later version"), "{error}");
    assert!(error.contains("format is 2"), "{error}");
}

#[test]
fn a_cluster_id_is_32_digits() {
    let id = ClusterId(0xabc);
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "abc", &"0".repeat(32), &"+".repeat(32), &"a".repeat(33)] {
        text.parse::<ClusterId>().unwrap_err();
    }
}

#[test]
fn one_damaged_or_missing_file_of_two_does_not_change_who_a_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join(FILE), folder.path().join(COPY));
    identity().store(folder.path()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    // A digit that was flipped gives another number, and is no damage that shows.
    for damaged in [
        "",
        "no JSON",
        &text.replace("\"node_id\": 2", "\"node_id\": 1"),
    ] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity()));
    fs::write(&copy, "damaged").unwrap();
    assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity()));
    // The copy is sound again.
    fs::write(&path, "damaged").unwrap();
    assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity()));
    fs::write(&path, "damaged").unwrap();
    fs::write(&copy, "damaged").unwrap();
    Identity::load(folder.path()).unwrap_err();
}
