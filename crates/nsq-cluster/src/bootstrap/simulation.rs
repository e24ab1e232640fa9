//! Random runs of several nodes that become a cluster, while messages are lost and late, and nodes are killed and wiped.
//!
//! Each node runs the real [`Bootstrap`] and [`Greeter`]; the directory's group is only modelled: it has a leader while a
//! majority of its members is up. A seed gives the same run every time.

mod checks;
mod group;
mod random;
mod wire;
mod world;

use super::*;
use world::{Outline, run};

/// Every node ends as a member of one cluster, whatever happened before.
fn check(seeds: std::ops::Range<u64>, outline: Outline) {
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed, outline));
        if let Err(panic) = result {
            eprintln!("seed {seed} of {outline:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn nodes_that_start_at_any_time_become_one_cluster() {
    for founders in 1..=5 {
        let outline = Outline {
            founders,
            ..Outline::default()
        };
        check(0..100, outline);
    }
}

#[test]
fn kills_in_any_phase_do_not_make_two_clusters() {
    for founders in 1..=5 {
        let outline = Outline {
            founders,
            later: 1,
            kills: 6,
            wipes: 0,
        };
        check(0..300, outline);
    }
}

#[test]
fn a_node_that_loses_its_disk_in_any_phase_becomes_a_member_again() {
    for founders in 3..=5 {
        let outline = Outline {
            founders,
            later: 1,
            kills: 4,
            wipes: 1,
        };
        check(0..500, outline);
    }
}
