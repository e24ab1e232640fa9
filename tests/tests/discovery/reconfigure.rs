//! The list of nsqlookupds changed while nsqd runs: `PUT /config/nsqlookupd_tcp_addresses`.

use std::net::SocketAddr;

use nsq_tests::{Lookupd, Nsqd, PATIENCE, Start, wait_until};

#[track_caller]
fn put(nsqd: &Nsqd, addresses: &[SocketAddr]) {
    let quoted: Vec<_> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
    let list = format!("[{}]", quoted.join(","));
    let path = "/config/nsqlookupd_tcp_addresses";
    let reply = nsqd.request("PUT", path, list.as_bytes());
    assert_eq!((reply.status, reply.text()), (200, list.clone()));
    assert_eq!(nsqd.get(path).text(), list);
}

/// The one connection that this nsqd has to it, as seen from there.
#[track_caller]
fn connection(lookupd: &Lookupd) -> String {
    let nodes = lookupd.nodes();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    nodes[0]["remote_address"].to_string()
}

#[test]
fn nsqlookupds_come_and_go_while_nsqd_runs() {
    let [first, second, third] = [(); 3].map(|()| Lookupd::start());
    let nsqd = Start::default().registering_with(&[first.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    first.wait_for_producers("t", &[nsqd.tcp()]);
    let kept = connection(&first);

    // A twice named one is one.
    put(&nsqd, &[second.tcp(), first.tcp(), second.tcp()]);
    second.wait_for_producers("t", &[nsqd.tcp()]);
    second.wait_for_channels("t", &["c"]);
    assert_eq!(connection(&first), kept, "it was connected anew");
    connection(&second);

    put(&nsqd, &[second.tcp(), third.tcp()]);
    first.wait_for_producers("t", &[]);
    third.wait_for_producers("t", &[nsqd.tcp()]);
    nsqd.order("/topic/create?topic=later");
    for lookupd in [&second, &third] {
        lookupd.wait_for_producers("later", &[nsqd.tcp()]);
    }
    assert_eq!(first.topics(), ["t"]);

    put(&nsqd, &[]);
    for lookupd in [&second, &third] {
        wait_until("nobody is left", PATIENCE, || lookupd.nodes().is_empty());
    }
}

#[test]
fn the_list_is_not_kept_over_a_restart() {
    let [first, second] = [(); 2].map(|()| Lookupd::start());
    let mut nsqd = Start::default().registering_with(&[first.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    put(&nsqd, &[second.tcp()]);
    second.wait_for_producers("t", &[nsqd.tcp()]);
    assert!(nsqd.terminate().success());
    nsqd.start_again();
    first.wait_for_producers("t", &[nsqd.tcp()]);
    second.wait_for_producers("t", &[]);
}
