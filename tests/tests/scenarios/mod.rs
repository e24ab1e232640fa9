//! What every client library must find nsqd to do. The crate around this module says which library.

#[path = "../../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nsq_tests::{AuthServer, Cluster, Frame, Lookupd, Nsqd, RawClient, Start, say_loudly};
use serde_json::json;

use self::test_authority::Authority;

/// Runs a scenario against a fresh nsqd, which it returns. `None` where the language is missing.
#[track_caller]
fn run(scenario: &str) -> Option<Nsqd> {
    let library = crate::LIBRARY.as_ref()?;
    let mut nsqd = Start::default().keeping_ports().now();
    let address = nsqd.tcp();
    library.run(scenario, &[address], || {
        nsqd.kill9();
        nsqd.start_again();
        "restarted".into()
    });
    Some(nsqd)
}

/// Every message was finished, after this many requeues and timeouts.
#[track_caller]
fn check_all_finished(nsqd: &Nsqd, messages: i64, requeues: i64, timeouts: i64) {
    let wanted = [
        ("depth", 0),
        ("in_flight_count", 0),
        ("deferred_count", 0),
        ("message_count", messages),
        ("requeue_count", requeues),
        ("timeout_count", timeouts),
    ];
    nsqd.wait_for_channel(crate::TOPIC, CHANNEL, &wanted);
}

#[test]
fn it_publishes() {
    let Some(nsqd) = run("publish") else { return };
    assert_eq!(nsqd.topic(crate::TOPIC)["depth"], 10);
}

#[test]
fn it_publishes_many_at_once() {
    let Some(nsqd) = run("multi-publish") else {
        return;
    };
    assert_eq!(nsqd.topic(crate::TOPIC)["depth"], 10);
}

#[test]
fn a_deferred_message_comes_when_it_is_due() {
    let Some(nsqd) = run("deferred-publish") else {
        return;
    };
    check_all_finished(&nsqd, 1, 0, 0);
}

#[test]
fn it_consumes_one_at_a_time() {
    let Some(nsqd) = run("consume-one") else {
        return;
    };
    check_all_finished(&nsqd, 50, 0, 0);
}

#[test]
fn it_consumes_many_at_a_time() {
    let Some(nsqd) = run("consume-many") else {
        return;
    };
    check_all_finished(&nsqd, 1000, 0, 0);
}

#[test]
fn a_requeued_message_waits_and_counts_its_attempts() {
    let Some(nsqd) = run("requeue") else { return };
    check_all_finished(&nsqd, 1, 3, 0);
}

#[test]
fn touching_keeps_a_message_beyond_its_timeout() {
    let Some(nsqd) = run("touch") else { return };
    check_all_finished(&nsqd, 1, 0, 0);
}

#[test]
fn an_unanswered_message_times_out_and_comes_again() {
    let Some(nsqd) = run("timeout") else { return };
    check_all_finished(&nsqd, 1, 0, 1);
}

#[test]
fn it_survives_a_killed_nsqd_with_every_message() {
    // The program itself counts what came; what came twice may be on its way still.
    run("reconnect");
}

#[test]
fn it_finds_every_nsqd_and_finds_a_killed_one_again() {
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let lookupds = [Lookupd::start(), Lookupd::start()];
    let addresses = lookupds.each_ref().map(|lookupd| lookupd.tcp());
    let start = || {
        Start::default()
            .keeping_ports()
            .registering_with(&addresses)
    };
    let (mut killed, spared) = (start().now(), start().now());
    let mut published = 0;
    let mut publish = |nsqd: &Nsqd| {
        let bodies: Vec<_> = (0..100)
            .map(|index| format!("message {}", published + index))
            .collect();
        nsqd.connect().publish_many(crate::TOPIC, &bodies);
        published += bodies.len();
        published
    };
    publish(&killed);
    publish(&spared);
    for lookupd in &lookupds {
        lookupd.wait_for_producers(crate::TOPIC, &[killed.tcp(), spared.tcp()]);
    }

    // The program asks when it has something of each, but not all yet.
    let known_to_clients = lookupds.each_ref().map(|lookupd| lookupd.http());
    library.run("discover", &known_to_clients, || {
        publish(&killed);
        killed.kill9();
        publish(&spared);
        killed.start_again();
        publish(&spared);
        publish(&killed).to_string()
    });
    // What it held when it was killed comes twice, so no counts here.
    for nsqd in [&killed, &spared] {
        nsqd.wait_for_channel(
            crate::TOPIC,
            CHANNEL,
            &[("depth", 0), ("in_flight_count", 0)],
        );
    }
}

/// The client knows only nsqlookupd. A node of a cluster is killed and loses its disk; what it had comes from the others.
#[test]
fn a_node_of_a_cluster_is_lost_and_no_message_with_it() {
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let lookupd = Lookupd::start();
    let registering = format!("--lookupd-tcp-address={}", lookupd.tcp());
    let mut cluster = Cluster::start(3, &[&registering, "--msg-timeout=2s"]);
    let mut published = 0;
    let mut publish = |nsqd: &Nsqd| {
        let bodies: Vec<_> = (published..published + 500)
            .map(|serial| format!("message-{serial}"))
            .collect();
        nsqd.connect().publish_many(crate::TOPIC, &bodies);
        published += bodies.len();
        published
    };
    for node in cluster.nodes() {
        publish(node);
    }
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.tcp()).collect();
    lookupd.wait_for_producers(crate::TOPIC, &addresses);
    library.run("discover", &[lookupd.http()], || {
        publish(&cluster[0]);
        cluster.lose(0);
        publish(&cluster[1]);
        publish(&cluster[2]).to_string()
    });
}

/// Default settings but for the number in flight, as many as there are nodes. The publishers continue at the other nodes when one
/// is killed.
#[test]
fn no_message_takes_long_when_a_node_of_a_cluster_is_killed() {
    check_pauses("pauses", &[|_| 0]);
}

/// With one message in flight a client library is ready on one of its connections, and not on the others. Not all nodes are killed:
/// a library comes back to one only when it asks nsqlookupd again, after a minute.
#[test]
fn no_message_takes_long_with_default_settings_whichever_node_of_a_cluster_is_killed() {
    check_pauses(
        "default-pauses",
        &[
            |cluster| is_ready(cluster, true),
            |cluster| is_ready(cluster, false),
        ],
    );
}

/// A node at which the client is ready for messages, or is connected and not ready.
fn is_ready(cluster: &Cluster, wanted: bool) -> usize {
    let mut found = None;
    nsq_tests::wait_until(
        "the client is ready somewhere",
        Duration::from_secs(30),
        || {
            let counts: Vec<_> = cluster.nodes().iter().map(ready_counts).collect();
            let is_any_ready = counts.iter().flatten().any(|count| *count > 0);
            let fits = |counts: &Vec<u64>| counts.iter().any(|count| (*count > 0) == wanted);
            found = counts.iter().position(fits).filter(|_| is_any_ready);
            found.is_some()
        },
    );
    found.expect("it was waited for")
}

/// The ready counts of the clients that are connected to a node.
fn ready_counts(node: &Nsqd) -> Vec<u64> {
    let path = format!("/stats?format=json&topic={}", crate::TOPIC);
    let stats = node.get(&path).json();
    let clients = stats["topics"][0]["channels"][0]["clients"].as_array();
    let clients = clients.cloned().unwrap_or_default();
    let counts = clients.iter().map(|client| client["ready_count"].as_u64());
    counts.flatten().collect()
}

/// The client knows the address of node 2 alone.
#[test]
fn no_message_takes_long_when_a_node_is_killed_that_the_client_does_not_know() {
    check_pauses("single-pauses", &[|_| 0, |_| 1]);
}

/// Kills the nodes that are chosen, one after the other, while the client consumes.
#[track_caller]
fn check_pauses(scenario: &str, killed: &[fn(&Cluster) -> usize]) {
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let lookupd = Lookupd::start();
    let registering = format!("--lookupd-tcp-address={}", lookupd.tcp());
    let mut cluster = Cluster::start(3, &[&registering]);
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.tcp()).collect();
    make_channel(&cluster[0]);
    lookupd.wait_for_producers(crate::TOPIC, &addresses);
    let known = match scenario {
        "single-pauses" => addresses[2],
        _ => lookupd.http(),
    };
    let is_publishing = AtomicBool::new(true);
    let published = AtomicUsize::new(0);
    let report = std::thread::scope(|scope| {
        for number in 0..3 {
            let (addresses, is_publishing, published) = (&addresses, &is_publishing, &published);
            scope.spawn(move || publish_stamps(addresses, number, is_publishing, published));
        }
        let answer = |line: &str| {
            (line == "restart").then(|| {
                for choose in killed {
                    let node = choose(&cluster);
                    cluster[node].kill9();
                    std::thread::sleep(Duration::from_secs(8));
                    cluster[node].start_again();
                    cluster.wait_until_ok();
                    std::thread::sleep(Duration::from_secs(2));
                }
                is_publishing.store(false, Relaxed);
                // Those under way end within their own patience.
                std::thread::sleep(Duration::from_secs(7));
                published.load(Relaxed).to_string()
            })
        };
        library.converse(scenario, &[known], KILLING, answer)
    });
    say_loudly(&format!("{} {scenario}: {report}", module_path!()));
    let longest = Duration::from_millis(number_in(&report));
    assert!(longest < LONGEST_PAUSE, "a message took {longest:?}");
}

/// One message in flight, which moves from node to node or does not: most of the rate of a single node is left.
#[test]
fn one_message_in_flight_gets_the_messages_of_three_nodes_nearly_as_fast_as_those_of_one() {
    const COUNT: usize = 12_000;
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let mut library = library.clone();
    library.tell("NSQ_COUNT", &COUNT.to_string());
    let bodies: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    let single = Start::with(&[]).now();
    make_channel(&single);
    single.connect().publish_many(crate::TOPIC, &bodies);
    let of_one = library.converse("rate", &[single.tcp()], KILLING, |_| None);
    let cluster = Cluster::start(3, &[]);
    make_channel(&cluster[0]);
    for (node, bodies) in cluster.nodes().iter().zip(bodies.chunks(COUNT / 3)) {
        node.connect().publish_many(crate::TOPIC, bodies);
    }
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.tcp()).collect();
    let of_three = library.converse("rate", &addresses, KILLING, |_| None);
    say_loudly(&format!(
        "{}: from one nsqd: {of_one}; from a cluster of three: {of_three}",
        module_path!()
    ));
    // More than it should lose, for a busy machine.
    assert!(number_in(&of_three) * 4 > number_in(&of_one));
}

fn make_channel(nsqd: &Nsqd) {
    let topic = crate::TOPIC;
    nsqd.order(&format!("/topic/create?topic={topic}"));
    nsqd.order(&format!("/channel/create?topic={topic}&channel={CHANNEL}"));
}

/// The number in a report of the form `name number unit`.
fn number_in(report: &str) -> u64 {
    let number = report.split(' ').nth(1);
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("there is no number in {report:?}"))
}

/// How long a scenario with several kills may take on a busy machine.
const KILLING: Duration = Duration::from_mins(4);
/// Much more than it should be, for a busy machine.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Publishes the time, each until some node has answered `OK`.
fn publish_stamps(
    addresses: &[SocketAddr],
    number: usize,
    is_publishing: &AtomicBool,
    published: &AtomicUsize,
) {
    let mut client = None;
    let mut node = number;
    let mut last = 0;
    while is_publishing.load(Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_nanos() / 3 * 3;
        // A number of its own for each publisher.
        let stamp = now.max(last + 3) + number as u128;
        last = stamp - number as u128;
        let command = RawClient::command(
            &format!("PUB {}", crate::TOPIC),
            stamp.to_string().as_bytes(),
        );
        loop {
            let address = addresses[node % addresses.len()];
            if client.is_none()
                && let Ok(mut new) = RawClient::try_connect(address)
            {
                new.try_send(b"  V2").ok();
                client = Some(new);
            }
            let sent = client.as_mut().is_some_and(|client| {
                let sent = client.try_send(&command).is_ok();
                sent && answers_ok(client)
            });
            if sent {
                break;
            }
            client = None;
            node += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        published.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn answers_ok(client: &mut RawClient) -> bool {
    loop {
        match client.next_frame(Duration::from_secs(6)) {
            Ok(Frame::Response(text)) if text == "OK" => return true,
            // A heartbeat.
            Ok(Frame::Response(_)) => drop(client.try_send(b"NOP\n")),
            _ => return false,
        }
    }
}

#[test]
fn a_body_of_100_kb_arrives_whole() {
    let Some(nsqd) = run("large-body") else {
        return;
    };
    check_all_finished(&nsqd, 1, 0, 0);
}

#[test]
fn heartbeats_keep_idle_connections() {
    let Some(nsqd) = run("heartbeat") else { return };
    check_all_finished(&nsqd, 1, 0, 0);
}

/// Runs scenarios through these layers, against an nsqd with a certificate and these additional flags.
#[track_caller]
fn check_through(layers: &[&str], flags: &[&str], shows_certificate: bool) {
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let authority = Authority::new();
    let (server, client) = (authority.issue("127.0.0.1"), authority.issue("client"));
    let ca = authority.file();
    let mut files = vec![("NSQ_CA", ca.as_str())];
    if shows_certificate {
        files.push(("NSQ_CERT", &client.cert));
        files.push(("NSQ_KEY", &client.key));
    }
    let library = library.through(layers, &files);
    let (cert, key) = (
        format!("--tls-cert={}", server.cert),
        format!("--tls-key={}", server.key),
    );
    let root = format!("--tls-root-ca-file={ca}");
    let certificate = ["--https-address=127.0.0.1:0", &cert, &key, &root];
    for (scenario, messages) in [("consume-many", 1000), ("large-body", 1)] {
        let nsqd = Start::with(&[&certificate[..], flags].concat()).now();
        library.run(scenario, &[nsqd.tcp()], || "never killed".into());
        if !flags.contains(&REQUIRED) {
            check_all_finished(&nsqd, messages, 0, 0);
        }
        let log = nsqd.log().text();
        for layer in layers {
            let layer = layer.replace("tls", "TLS");
            let upgrade = format!("upgrading connection to {layer}");
            // The producer's and the consumer's.
            assert_eq!(log.matches(&upgrade).count(), 2, "{scenario}: {upgrade}");
        }
    }
}

/// With it, statistics are not available by plain HTTP.
const REQUIRED: &str = "--tls-required";

#[test]
fn it_works_through_tls() {
    check_through(&["tls"], &[REQUIRED], false);
}

#[test]
fn it_works_through_tls_with_a_certificate_of_its_own() {
    let flags = [
        "--tls-client-auth-policy=require-verify",
        "--tls-required=tcp-https",
    ];
    check_through(&["tls"], &flags, true);
}

#[test]
fn it_works_through_snappy() {
    check_through(&["snappy"], &[], false);
}

#[test]
fn it_works_through_deflate() {
    check_through(&["deflate"], &[], false);
}

#[test]
fn it_works_through_snappy_in_tls() {
    check_through(&["tls", "snappy"], &[], false);
}

#[test]
fn it_works_through_deflate_in_tls() {
    check_through(&["tls", "deflate"], &[], false);
}

/// Runs a scenario with AUTH, through these layers. What the authorization server is asked must have all of `told` in it.
#[track_caller]
fn check_auth(layers: &[&str], told: &[&str]) {
    let Some(library) = crate::LIBRARY.as_ref() else {
        return;
    };
    let server = AuthServer::granting(&json!({
        "topic": format!("^{}$", crate::TOPIC),
        "channels": [format!("^({CHANNEL})?$")],
        "permissions": ["subscribe", "publish"],
    }));
    let authority = Authority::new();
    let (ours, shown) = (authority.issue("127.0.0.1"), authority.issue("client"));
    let ca = authority.file();
    let flags = [
        format!("--auth-http-address={}", server.address()),
        format!("--tls-cert={}", ours.cert),
        format!("--tls-key={}", ours.key),
        "--https-address=127.0.0.1:0".to_owned(),
        "--tls-client-auth-policy=require".to_owned(),
        "--tls-required=tcp-https".to_owned(),
    ];
    // Without TLS, clients need not know that there could be.
    let flags = if layers.is_empty() {
        &flags[..1]
    } else {
        &flags
    };
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let nsqd = Nsqd::start(&flags);
    let environment = [
        ("NSQ_SECRET", "open sesame"),
        ("NSQ_CA", &ca),
        ("NSQ_CERT", &shown.cert),
        ("NSQ_KEY", &shown.key),
    ];
    let library = library.through(layers, &environment);
    library.run("consume-many", &[nsqd.tcp()], || "never killed".into());
    check_all_finished(&nsqd, 1000, 0, 0);
    // The producer's and the consumer's.
    let questions = server.questions();
    assert_eq!(questions.len(), 2);
    for question in questions {
        for part in told.iter().chain(&["secret=open+sesame"]) {
            assert!(question.line.contains(part), "{}", question.line);
        }
    }
}

#[test]
fn it_authenticates() {
    check_auth(&[], &["common_name=&", "tls=false"]);
}

#[test]
fn it_authenticates_through_tls_with_its_certificates_name() {
    check_auth(
        &["tls"],
        &["common_name=rcgen+self+signed+cert", "tls=true"],
    );
}

const CHANNEL: &str = "scenarios";
