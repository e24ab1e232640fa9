//! A cluster in the middle of an upgrade: nodes of an older and of a newer build next to each other.
//!
//! An older build announces an older format of entries, and so does a node with `NSQD_TEST_ENTRY_FORMAT`. The program that
//! `OLDER_NSQD` names is used instead, if it is given.

use nsq_tests::{Cluster, Nsqd, free_port, wait_until};
use serde_json::Value;

use crate::faults::under_this_load;
use crate::traffic::Traffic;

/// The format of entries before members had zones.
const BEFORE_ZONES: &str = "NSQD_TEST_ENTRY_FORMAT=1";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How nodes of the older build are started.
struct Older(Vec<String>);

impl Older {
    fn given() -> Older {
        let wrapper = match std::env::var("OLDER_NSQD") {
            // Before the flags is the newer program, and how it is started.
            Ok(path) => vec![
                "sh".to_owned(),
                "-c".to_owned(),
                format!(
                    "until [ \"${{1#--tcp-address=}}\" != \"$1\" ]; do shift; done; exec {path} \"$@\""
                ),
                "sh".to_owned(),
            ],
            Err(_) => vec!["env".to_owned(), BEFORE_ZONES.to_owned()],
        };
        Older(wrapper)
    }

    fn knows_zones(&self) -> bool {
        self.0[0] != "env"
    }

    fn start(&self, node: &mut Nsqd) {
        let wrapper: Vec<_> = self.0.iter().map(String::as_str).collect();
        node.start_again_through(&wrapper);
    }
}

fn zones(cluster: &Cluster, asked: usize) -> Vec<String> {
    let report = cluster.report(asked).unwrap_or_default();
    let members = report["members"].as_array().cloned().unwrap_or_default();
    let zone = |member: &Value| member["zone"].as_str().unwrap_or_default().to_owned();
    let mut zones: Vec<_> = members.iter().map(zone).collect();
    // A node that an older build could not go on with has another number.
    zones.sort();
    zones
}

fn own_flags(node: usize) -> Vec<String> {
    vec![format!("--topology-zone=zone-{node}")]
}

#[test]
fn a_newer_format_is_used_once_every_node_reads_it_and_then_an_older_node_is_refused() {
    const ALL: [usize; 3] = [0, 1, 2];
    const LATE: usize = 3;
    let older = Older::given();
    let clients: Vec<_> = (0..4).map(|_| free_port()).collect();
    let mut cluster = Cluster::with_spares(3, &clients, own_flags);
    for node in ALL {
        older.start(&mut cluster[node]);
    }
    cluster.wait_until_whole(&ALL);
    let traffic = Traffic::new("orders", clients[..3].to_vec()).with_mixed_commands();
    under_this_load(
        "a rolling upgrade",
        &mut cluster,
        traffic,
        |cluster, traffic| {
            // One of them goes back in between. Each leads its own shard in each mixture.
            for (node, is_newer) in [(0, true), (1, true), (1, false), (1, true), (2, true)] {
                assert!(cluster[node].terminate().success());
                if is_newer {
                    cluster[node].start_again_through(&[]);
                } else {
                    older.start(&mut cluster[node]);
                }
                cluster.wait_until_whole(&ALL);
                traffic.wait_for_publishes(100);
                if !older.knows_zones() && node != 2 {
                    for asked in ALL {
                        assert_eq!(
                            zones(cluster, asked),
                            ["", "", ""],
                            "node 2 does not know zones"
                        );
                    }
                }
            }
            for asked in ALL {
                wait_until("the zones are known", PATIENCE, || {
                    zones(cluster, asked) == ["zone-0", "zone-1", "zone-2"]
                });
            }
        },
    );
    if older.knows_zones() {
        return;
    }
    older.start(&mut cluster[LATE]);
    let refusal = cluster[LATE].wait_for_line("upgrade it");
    assert!(
        refusal.contains("which the nsqd ") && refusal.contains("does not know"),
        "{refusal}"
    );
    // The others are not impressed.
    cluster.wait_until_whole(&ALL);
}
