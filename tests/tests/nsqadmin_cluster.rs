//! nsqadmin's page of a replicated cluster, in a browser before real nodes. The program that drives Chromium is in
//! `clients/browser`.

use std::time::Duration;

use nsq_tests::{Admin, ClientLibrary, Cluster, Daemon, build_folder};

#[test]
fn nodes_are_stepped_down_resumed_and_removed_by_the_buttons() {
    let Some(mut browser) = ClientLibrary::browser() else {
        return;
    };
    let screenshots = build_folder().join("browser-cluster");
    let screenshots = screenshots.to_str().expect("paths here are text");
    browser.tell("SCREENSHOTS", screenshots);
    let mut cluster = Cluster::start(3, &[]);
    let nodes = cluster.nodes().iter().collect::<Vec<_>>();
    let admin = Admin::of_nsqds(&nodes, &["--history-interval=1s"]);
    let [first, second, third] = [0, 1, 2].map(|node| cluster[node].http());
    let admin = Daemon::http(&admin);
    // There is no nsqlookupd, and no second nsqadmin.
    let addresses = [admin, admin, admin, first, second, third];
    browser.converse("cluster", &addresses, LIMIT, |line| {
        (line == "kill").then(|| {
            cluster[2].kill9();
            "killed".to_owned()
        })
    });
}

/// Several times what it takes on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_mins(4);
