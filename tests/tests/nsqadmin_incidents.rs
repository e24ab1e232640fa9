//! Incidents as an operator sees them in nsqadmin's pages, in a browser: channels that fall behind or are stuck, nodes that
//! are killed or hang, an nsqlookupd that hangs. The program that drives Chromium is in `clients/browser`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nsq_tests::{
    Admin, ClientLibrary, Daemon, Delivery, Frame, Lookupd, Nsqd, RawClient, Start, build_folder,
};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn incidents_are_named_explained_and_not_forgotten() {
    let Some(mut browser) = ClientLibrary::browser() else {
        return;
    };
    let screenshots = build_folder().join("browser-incidents");
    let screenshots = screenshots.to_str().expect("paths here are text");
    browser.tell("SCREENSHOTS", screenshots);

    let lookupd = Lookupd::start();
    let start = |flags| {
        let start = Start::with(flags);
        start.registering_with(&[lookupd.tcp()]).now()
    };
    let first = start(&["--msg-timeout=5s"]);
    let (mut second, third) = (start(&[]), start(&[]));
    for (nsqd, topic, count) in [
        (&first, "falls", 20_000),
        (&first, "holds", 100),
        (&second, "lonely", 11),
        (&third, "quiet", 7),
    ] {
        create(nsqd, topic);
        fill(nsqd, topic, count);
    }
    for number in 0..260 {
        create(&first, &format!("idle-{number}"));
    }
    let admin = Admin::of_lookupds(&[&lookupd], &["--history-interval=1s"]);
    let addresses = [&*admin, &*admin, &*lookupd, &*first, &*second, &*third].map(Daemon::http);
    let mut traffic = None;
    browser.converse("incidents", &addresses, LIMIT, |line| {
        match line {
            "traffic" => traffic = Some(Traffic::start(&first)),
            "hang node" => third.notify(Signal::STOP),
            "resume node" => third.notify(Signal::CONT),
            "hang nsqlookupd" => lookupd.notify(Signal::STOP),
            "resume nsqlookupd" => lookupd.notify(Signal::CONT),
            "kill" => second.kill9(),
            _ => return None,
        }
        Some("done".to_owned())
    });
    drop(traffic);
}

fn create(nsqd: &Nsqd, topic: &str) {
    nsqd.order(&format!("/topic/create?topic={topic}"));
    nsqd.order(&format!("/channel/create?topic={topic}&channel=readers"));
}

fn fill(nsqd: &Nsqd, topic: &str, count: usize) {
    let bodies = vec!["message"; count];
    let mut client = nsqd.connect();
    for bodies in bodies.chunks(1000) {
        client.publish_many(topic, bodies);
    }
}

/// Ten messages a second to `falls`, whose consumer finishes five; and a consumer of `holds` that finishes none.
struct Traffic {
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(nsqd: &Nsqd) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut publisher = nsqd.connect();
        publisher.identify(&json!({"heartbeat_interval": -1}));
        let publish = paced(&is_over, Duration::from_millis(100), move || {
            publisher.publish("falls", "one more");
        });
        let mut consumer = subscriber(nsqd, "falls", 1);
        let finish = paced(&is_over, Duration::from_millis(200), move || {
            if let Some(message) = next_message(&mut consumer) {
                consumer.finish(&message);
            }
        });
        let mut holder = subscriber(nsqd, "holds", 5);
        let hold = paced(&is_over, Duration::from_millis(100), move || {
            next_message(&mut holder);
        });
        Self {
            is_over,
            threads: vec![publish, finish, hold],
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the traffic ends well");
        }
    }
}

/// Does it at every step, in a thread of its own, until it is over.
fn paced(
    is_over: &Arc<AtomicBool>,
    step: Duration,
    mut act: impl FnMut() + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let is_over = Arc::clone(is_over);
    std::thread::spawn(move || {
        let mut next = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            act();
            next += step;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    })
}

fn subscriber(nsqd: &Nsqd, topic: &str, ready_count: u32) -> RawClient {
    let mut client = nsqd.connect();
    client.subscribe(topic, "readers");
    client.send_line(&format!("RDY {ready_count}"));
    client
}

/// The next message, if one comes soon. A heartbeat is answered.
fn next_message(client: &mut RawClient) -> Option<Delivery> {
    match client.next_frame(Duration::from_millis(500)) {
        Ok(Frame::Message(message)) => Some(message),
        Ok(_) => {
            client.send_line("NOP");
            None
        }
        Err(_) => None,
    }
}

/// Several times what it takes on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_mins(6);
