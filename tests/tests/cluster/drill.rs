//! The operations drill: what an operator does to a cluster in its life, and what happens to it, one step after the other under
//! continuous publishing and consuming. Nothing that was acknowledged may be lost in any of them.
//!
//! `make test` takes some of the steps; with `CLUSTER_DRILL=full` (`make cluster-drill`) it is all of them.

use std::fmt::Write as _;
use std::thread;

use nsq_tests::{Cluster, free_port, say_loudly};
use rustix::process::Signal;

use crate::faults::copy;
use crate::recovery::recover;
use crate::traffic::{StepFigures, Traffic};

/// The cluster during the drill, and which of its nodes belong to it.
struct Drill<'a> {
    cluster: &'a mut Cluster,
    traffic: &'a Traffic,
    members: Vec<usize>,
}

/// The first members, each in a zone of its own; D and E join in the zones of A and B.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;
const E: usize = 4;
const ZONES: [&str; 5] = ["a", "b", "c", "a", "b"];

/// When a step is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// In the full drill only.
    Full,
}

type Step = (&'static str, When, fn(&mut Drill<'_>));

const STEPS: [Step; 24] = [
    ("a steps down, and resumes", When::Always, |drill| {
        drill.post(A, "/cluster/stepdown");
        drill.go_on(100);
        drill.post(A, "/cluster/resume");
        drill.wait_until_whole();
    }),
    ("a steps down, and is killed", When::Full, |drill| {
        drill.post(A, "/cluster/stepdown");
        drill.kill_and_start(&[A]);
    }),
    ("rolling restart: a", When::Full, |drill| drill.restart(A)),
    ("rolling restart: b", When::Always, |drill| drill.restart(B)),
    ("rolling restart: c", When::Full, |drill| drill.restart(C)),
    ("a is restarted with --sync-publish", When::Full, |drill| {
        assert!(drill.cluster[A].terminate().success());
        let mut flags = drill.cluster.flags(A);
        flags.extend(own_flags(A));
        flags.push("--sync-publish".to_owned());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        drill.cluster[A].start_again_with(&flags);
        drill.wait_until_whole();
    }),
    ("b is killed, and starts again", When::Always, |drill| {
        drill.kill_and_start(&[B]);
    }),
    (
        "the leader of the directory is killed",
        When::Full,
        |drill| {
            let leader = drill.directory_leader();
            drill.kill_and_start(&[leader]);
        },
    ),
    ("c hangs, and goes on", When::Full, |drill| {
        drill.cluster[C].notify(Signal::STOP);
        drill.go_on(200);
        drill.cluster[C].notify(Signal::CONT);
        drill.wait_until_whole();
    }),
    ("the disk of c is replaced", When::Always, |drill| {
        drill.replace_disk(&[C]);
    }),
    ("a file of b is damaged", When::Full, |drill| {
        drill.cluster[B].kill9();
        let vote = drill.cluster[B].folder().join("cluster/directory/wal/vote");
        std::fs::write(vote, "damaged").expect("it can be written");
        drill.start(&[B]);
        drill.wait_until_whole();
    }),
    ("c is restored from an older copy", When::Full, |drill| {
        let older = tempfile::tempdir().expect("a temporary folder can be made");
        drill.cluster[C].kill9();
        let folder = drill.cluster[C].folder().to_owned();
        copy(&format!("{}/.", folder.display()), older.path());
        drill.start(&[C]);
        drill.wait_until_whole();
        drill.go_on(100);
        drill.cluster.lose(C);
        copy(&format!("{}/.", older.path().display()), &folder);
        drill.start(&[C]);
        drill.wait_until_whole();
    }),
    ("d joins", When::Always, |drill| drill.join(D)),
    ("e joins", When::Full, |drill| drill.join(E)),
    ("zone a is lost, and comes back", When::Always, |drill| {
        drill.kill_and_start(&[A, D]);
    }),
    ("zone b is lost with its disks", When::Full, |drill| {
        drill.replace_disk(&[B, E]);
    }),
    ("e leaves", When::Full, |drill| drill.remove(E)),
    ("d is removed after it was killed", When::Always, |drill| {
        drill.cluster[D].kill9();
        drill.remove(D);
    }),
    ("a majority is away for a moment", When::Full, |drill| {
        drill.cluster[A].kill9();
        drill.cluster[B].kill9();
        drill.cluster.wait_for_state(C, "no majority");
        drill.start(&[A, B]);
        drill.wait_until_whole();
    }),
    ("all nodes are killed at once", When::Full, |drill| {
        drill.kill_all();
        drill.start(&[A, B, C]);
        drill.wait_until_whole();
    }),
    ("all nodes are stopped, and start", When::Full, |drill| {
        for node in [A, B, C] {
            assert!(drill.cluster[node].terminate().success());
        }
        drill.start(&[A, B, C]);
        drill.wait_until_whole();
    }),
    (
        "the majority is lost, and b recovered",
        When::Always,
        |drill| {
            // What only the lost nodes have cannot be recovered.
            drill.traffic.rest();
            drill.wait_until_whole();
            crate::stopped::wait_until_all_have_all(drill.cluster);
            drill.kill_all();
            drill.cluster.lose(A);
            drill.cluster.lose(C);
            recover(&mut drill.cluster[B]);
            drill.traffic.resume();
            drill.go_on(100);
            drill.start(&[A, C]);
            drill.wait_until_whole();
        },
    ),
    ("the recovered node is lost", When::Full, |drill| {
        drill.replace_disk(&[B]);
    }),
    ("rolling restart of all", When::Full, |drill| {
        for node in [A, B, C] {
            drill.restart(node);
        }
    }),
];

impl Drill<'_> {
    fn go_on(&self, messages: usize) {
        self.traffic.wait_for_publishes(messages);
    }

    fn wait_until_whole(&self) {
        self.cluster.wait_until_whole(&self.members);
    }

    fn post(&self, node: usize, path: &str) {
        let reply = self.cluster[node].post(path, b"");
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }

    fn start(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.cluster[*node].start_again();
        }
    }

    fn restart(&mut self, node: usize) {
        assert!(self.cluster[node].terminate().success());
        self.cluster[node].start_again();
        self.wait_until_whole();
    }

    fn kill_all(&mut self) {
        for node in self.members.clone() {
            self.cluster[node].kill9();
        }
    }

    fn kill_and_start(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.cluster[*node].kill9();
        }
        self.go_on(200);
        self.start(nodes);
        self.wait_until_whole();
    }

    fn replace_disk(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.cluster.lose(*node);
        }
        self.go_on(200);
        self.start(nodes);
        self.wait_until_whole();
    }

    fn join(&mut self, node: usize) {
        self.cluster[node].start_again();
        self.members.push(node);
        self.wait_until_whole();
    }

    fn remove(&mut self, node: usize) {
        let address = self.cluster.cluster_address(node);
        self.post(A, &format!("/cluster/remove?node={address}"));
        self.members.retain(|member| *member != node);
        self.wait_until_whole();
        self.cluster[node].kill9();
    }

    fn directory_leader(&self) -> usize {
        let report = self.cluster.report(A).expect("it answers");
        let leader = &report["directory"]["leader"];
        let members = report["members"].as_array().cloned().unwrap_or_default();
        let member = members.iter().find(|member| member["id"] == *leader);
        let address = member.and_then(|member| member["address"].as_str());
        let is_at =
            |node: &usize| address == Some(&self.cluster.cluster_address(*node).to_string());
        let node = self.members.iter().copied().find(is_at);
        node.expect("a member leads the directory")
    }
}

#[test]
fn the_operations_drill_loses_nothing() {
    let is_full = std::env::var("CLUSTER_DRILL").is_ok_and(|text| text == "full");
    let clients: Vec<_> = ZONES.iter().map(|_| free_port()).collect();
    let mut cluster = Cluster::with_spares(3, &clients, own_flags);
    let members = vec![A, B, C];
    for node in &members {
        cluster[*node].start_again();
    }
    cluster.wait_until_whole(&members);
    let traffic = Traffic::new("orders", clients).with_publishers(3);
    let mut drill = Drill {
        cluster: &mut cluster,
        traffic: &traffic,
        members,
    };
    thread::scope(|scope| {
        traffic.begin_step("before");
        traffic.start(scope);
        traffic.wait_for_publishes(200);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (name, when, step) in STEPS {
                if is_full || when == When::Always {
                    traffic.begin_step(name);
                    step(&mut drill);
                    traffic.wait_for_publishes(100);
                }
            }
        }));
        traffic.resume();
        traffic.finish();
        if let Err(cause) = failed {
            say_loudly(&table(&traffic.steps()));
            std::panic::resume_unwind(cause);
        }
    });
    say_loudly(&table(&traffic.steps()));
    traffic.check("the drill");
}

fn own_flags(node: usize) -> Vec<String> {
    vec![
        format!("--topology-zone={}", ZONES[node]),
        "--msg-timeout=5s".to_owned(),
    ]
}

fn table(steps: &[StepFigures]) -> String {
    let mut table = format!(
        "{:40} {:>12} {:>5} {:>9} {:>15} {:>16}\n",
        "step", "acknowledged", "lost", "repeated", "longest publish", "longest silence"
    );
    for step in steps {
        let (publish, silence) = (step.longest_publish, step.longest_silence);
        let written = writeln!(
            table,
            "{:40} {:>12} {:>5} {:>9} {:>13.2} s {:>14.2} s",
            step.name,
            step.acknowledged,
            step.lost,
            step.repeated,
            publish.as_secs_f64(),
            silence.as_secs_f64(),
        );
        written.expect("a text takes everything");
    }
    table
}
