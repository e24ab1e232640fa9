//! Which topics are archived: those that were given, or those that nsqlookupd knows and a pattern takes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;

use nsq_daemon::http::client::{Client, ClientOptions};
use nsq_daemon::signals::{Hangup, ShutdownSignals};
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::user_agent;
use nsq_tools::fatal;
use nsq_tools::sources::Sources;
use serde::Deserialize;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::settings::{PROGRAM, Settings};
use crate::topic::{self, Command, End};

/// Archives until a signal ends it. Returns whether the file system went along.
pub(crate) async fn run(settings: Settings) -> Result<bool, Stop> {
    let mut hangup = Hangup::catch().map_err(fatal)?;
    let terminate = ShutdownSignals::catch().map_err(fatal)?.received();
    let mut terminate = std::pin::pin!(terminate);
    let mut topics = Topics::new(settings);
    let mut found = Found::new(&topics.settings);
    let given = topics.settings.topics.clone();
    let mut all_is_well = true;
    topics.add(given);
    if topics.are_fixed() && topics.running.is_empty() {
        return Ok(false);
    }
    loop {
        tokio::select! {
            () = &mut terminate => break,
            () = hangup.received() => topics.tell(Command::Hangup),
            names = found.next() => topics.add(names),
            (topic, end) = topics.ended() => {
                topics.forget(&topic);
                match end {
                    End::Refused if topics.are_fixed() && topics.running.is_empty() => {
                        // Nothing will ever come of this.
                        return Ok(false);
                    }
                    End::Stopped | End::Refused => {}
                    End::Failed => {
                        all_is_well = false;
                        break;
                    }
                }
            }
        }
    }
    topics.tell(Command::Terminate);
    while !topics.running.is_empty() {
        let (_, end) = topics.ended().await;
        all_is_well &= end != End::Failed;
    }
    Ok(all_is_well)
}

/// Those that are being archived.
struct Topics {
    settings: Arc<Settings>,
    commands: HashMap<String, UnboundedSender<Command>>,
    running: JoinSet<(String, End)>,
    /// Told once that they are not wanted.
    skipped: HashSet<String>,
}

impl Topics {
    fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            commands: HashMap::new(),
            running: JoinSet::new(),
            skipped: HashSet::new(),
        }
    }

    /// Whether no others can come.
    fn are_fixed(&self) -> bool {
        !self.settings.topics.is_empty()
    }

    fn add(&mut self, names: Vec<String>) {
        for name in names {
            if self.commands.contains_key(&name) || self.skipped.contains(&name) {
                continue;
            }
            if let Some(pattern) = &self.settings.topic_pattern
                && !pattern.is_match(name.as_bytes())
            {
                tracing::warn!("skipping topic {name} (doesn't match pattern {pattern})");
                self.skipped.insert(name);
                continue;
            }
            let (sender, receiver) = mpsc::unbounded_channel();
            self.commands.insert(name.clone(), sender);
            let settings = Arc::clone(&self.settings);
            self.running.spawn(async move {
                let end = topic::run(name.clone(), settings, receiver).await;
                (name, end)
            });
        }
    }

    fn tell(&self, command: Command) {
        for topic in self.commands.values() {
            // One that has ended is past caring.
            let _ = topic.send(command);
        }
    }

    fn forget(&mut self, topic: &str) {
        self.commands.remove(topic);
    }

    /// Waits for the next that ends.
    async fn ended(&mut self) -> (String, End) {
        match self.running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => pending().await,
        }
    }
}

/// The topics that all nsqlookupds know, asked for every so often.
struct Found(Option<mpsc::Receiver<Vec<String>>>);

impl Found {
    fn new(settings: &Arc<Settings>) -> Self {
        let Sources::Lookupds(addresses) = &settings.sources else {
            return Self(None);
        };
        if !settings.topics.is_empty() {
            return Self(None);
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(ask(Arc::clone(settings), addresses.clone(), sender));
        Self(Some(receiver))
    }

    async fn next(&mut self) -> Vec<String> {
        let names = match &mut self.0 {
            Some(receiver) => receiver.recv().await,
            None => None,
        };
        match names {
            Some(names) => names,
            None => pending().await,
        }
    }
}

async fn ask(settings: Arc<Settings>, addresses: Vec<String>, found: mpsc::Sender<Vec<String>>) {
    let client = Client::new(ClientOptions {
        connect_timeout: settings.http_connect_timeout,
        request_timeout: settings.http_request_timeout,
        tls: None,
        user_agent: user_agent(PROGRAM),
        body_limit: ANSWER_BYTES,
    });
    let mut rounds = interval(settings.topic_refresh);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let (names, errors) = ask_all(&client, &addresses).await;
        if !errors.is_empty() {
            tracing::error!("could not retrieve topic list: {}", errors.join("; "));
        }
        if found.send(names).await.is_err() {
            return;
        }
    }
}

/// What those say that answer, and why the others do not.
async fn ask_all(client: &Client, addresses: &[String]) -> (Vec<String>, Vec<String>) {
    let mut asking = JoinSet::new();
    for address in addresses {
        let url = topics_url(address);
        let client = client.clone();
        asking.spawn(async move { client.get_json::<Answer>(&url).await });
    }
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    while let Some(Ok(answer)) = asking.join_next().await {
        match answer {
            Ok(answer) => names.extend(answer.topics),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (names.into_iter().collect(), errors)
}

fn topics_url(address: &str) -> String {
    let base = address.trim_end_matches('/');
    if base.contains("://") {
        format!("{base}/topics")
    } else {
        format!("http://{base}/topics")
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    topics: Vec<String>,
}

/// A hundred thousand topics with the longest names.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;
