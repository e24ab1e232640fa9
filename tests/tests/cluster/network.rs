//! Links between nodes that are cut, in both directions and in one.

use std::fs;

use nsq_tests::{Cluster, Network};

use crate::faults::under_load;
use crate::traffic::Traffic;

const NODES: u8 = 3;
const CLIENTS: u8 = 3;

/// A cluster with one node on each host, and traffic from another host, while `faults` cuts links.
fn on_a_network(what: &str, faults: impl FnOnce(&Network, &mut Cluster, &Traffic) + Send) {
    let Some(network) = Network::of_hosts(NODES + 1) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let secret = folder.path().join("secret");
    fs::write(&secret, "a secret that no other cluster has").expect("the folder is writable");
    network.on(CLIENTS, || {
        let mut cluster = Cluster::on_hosts(&network, NODES, &secret, &[]);
        under_load(what, &mut cluster, |cluster, traffic| {
            faults(&network, cluster, traffic);
        });
    });
}

#[test]
fn a_node_that_is_cut_off_loses_its_place_and_nothing_else() {
    on_a_network("a node cut off", |network, cluster, traffic| {
        network.cut(0);
        traffic.wait_for_publishes(300);
        cluster.wait_for_another_leader(0, 1);
        traffic.wait_for_publishes(300);
        network.mend(0);
        cluster.wait_until_ok();
    });
}

#[test]
fn a_node_that_is_not_reached_but_reaches_others_does_not_hold_up_the_cluster() {
    on_a_network(
        "a link cut in one direction",
        |network, cluster, traffic| {
            network.cut_towards(1);
            traffic.wait_for_publishes(300);
            cluster.wait_for_another_leader(1, 0);
            traffic.wait_for_publishes(300);
            network.mend_towards(1);
            cluster.wait_until_ok();
        },
    );
}
