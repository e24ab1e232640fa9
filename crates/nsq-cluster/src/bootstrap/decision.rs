//! The bootstrap of one node, as a state machine that is told what others answer and says what to do next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::call::{Call, CallAnswer, Introduction};
use super::greeter::Greeter;
use super::next::{BootstrapError, BootstrapOptions, Done, Next, Start};
use crate::ClusterId;
use crate::directory::MemberInfo;
use crate::identity::Identity;

/// The bootstrap of one node.
///
/// It goes in rounds: say hello to everyone, then decide. Nothing is remembered from one round to the next except what is
/// stored, so a lost message costs a round.
#[derive(Debug)]
pub struct Bootstrap {
    pub(super) info: MemberInfo,
    /// The flags, with this node's own address if it is among them.
    pub(super) peers: BTreeSet<String>,
    pub(super) process: u128,
    pub(super) new_cluster: ClusterId,
    pub(super) patience: Duration,
    pub(super) start: Start,
    pub(super) phase: Phase,
    pub(super) answers: BTreeMap<String, Result<CallAnswer, String>>,
    /// Founders that are not among the peers, as one of them has said.
    pub(super) more: BTreeSet<String>,
    /// Of an untrusted node: since when no majority could be trusted.
    pub(super) needed_since: Option<Duration>,
    /// Whether a request to join has been sent whose answer was lost.
    pub(super) may_have_joined: bool,
    /// How often joining by way of a node has failed, by its address.
    pub(super) failed_via: BTreeMap<String, u32>,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// A round begins.
    Ask,
    /// The hellos are on their way or answered.
    Asked,
    /// An identity is to be stored.
    Store(Box<Identity>),
    /// The founding is on its way or answered. The text says why it will not be complete in this round, if it is known.
    Founding(Option<String>),
    /// The request to join is on its way or answered.
    Joining(String),
    /// It is over.
    Over(Done),
}

impl Bootstrap {
    /// Begins the bootstrap of a node; the greeter answers the others meanwhile and afterwards.
    ///
    /// # Errors
    /// When the flags make no sense.
    pub fn new(options: BootstrapOptions) -> Result<(Self, Greeter), BootstrapError> {
        options.info.check()?;
        let peers: BTreeSet<_> = options.peers.iter().cloned().collect();
        if peers.is_empty() {
            return Err(BootstrapError::NoPeers);
        }
        for peer in &peers {
            let as_member = MemberInfo {
                address: peer.clone(),
                ..options.info.clone()
            };
            as_member
                .check()
                .map_err(|_| BootstrapError::Peer(peer.clone()))?;
        }
        let mut greeter = Greeter::new(options.info.clone(), peers.clone(), options.process);
        match &options.start {
            Start::Fresh => {}
            Start::Founding(identity) => greeter.identity = Some(identity.clone()),
            Start::Untrusted(node) => {
                greeter.identity = Some(node.identity.clone());
                greeter.is_trusted = false;
            }
        }
        let bootstrap = Self {
            info: options.info,
            peers,
            process: options.process,
            new_cluster: options.new_cluster,
            patience: options.patience,
            start: options.start,
            phase: Phase::Ask,
            answers: BTreeMap::new(),
            more: BTreeSet::new(),
            needed_since: None,
            may_have_joined: false,
            failed_via: BTreeMap::new(),
        };
        Ok((bootstrap, greeter))
    }

    /// The answer to one of the calls, or why there is none.
    pub fn answered(&mut self, address: &str, answer: Result<CallAnswer, String>) {
        self.answers.insert(address.to_owned(), answer);
    }

    /// The identity of [`Next::Store`] is stored.
    pub fn stored(&mut self, greeter: &mut Greeter) {
        let Phase::Store(identity) = std::mem::replace(&mut self.phase, Phase::Ask) else {
            return;
        };
        let identity = *identity;
        greeter.stored(identity.clone());
        match &self.start {
            Start::Untrusted(_) => {
                greeter.is_trusted = true;
                greeter.has_entries = false;
                self.phase = Phase::Over(Done::Rejoined(identity));
            }
            _ if identity.founders.is_some() => self.start = Start::Founding(identity),
            _ => self.phase = Phase::Over(Done::Start(identity)),
        }
    }

    /// What to do next, `elapsed` after the node has started. Call it after everything that [`Next`] says was done.
    pub fn next(&mut self, greeter: &mut Greeter, elapsed: Duration) -> Next {
        match self.phase.clone() {
            Phase::Over(done) => return Next::Done(done),
            Phase::Store(identity) => return Next::Store(identity),
            _ => {}
        }
        if let Start::Fresh = self.start {
            if let Some(identity) = &greeter.identity {
                // Another node has founded the cluster.
                return self.over(Done::Start(identity.clone()));
            }
            if !greeter.is_open()
                && !matches!(self.phase, Phase::Joining(_))
                && !self.may_have_joined
            {
                return Next::Wait("storing the cluster that another node has founded".to_owned());
            }
        }
        match std::mem::replace(&mut self.phase, Phase::Ask) {
            Phase::Asked => {
                if let Some(text) = self.impostor() {
                    return Next::Fail(text);
                }
                match self.start.clone() {
                    Start::Fresh => self.decide_fresh(greeter),
                    Start::Founding(identity) => self.decide_founding(&identity),
                    Start::Untrusted(node) => self.decide_untrusted(greeter, &node, elapsed),
                }
            }
            Phase::Founding(trouble) => self.finish_founding(trouble),
            Phase::Joining(via) => self.finish_joining(greeter, &via),
            _ => self.ask(greeter),
        }
    }

    fn ask(&mut self, greeter: &Greeter) -> Next {
        self.answers.clear();
        let mut addresses: BTreeSet<_> = self.peers.union(&self.more).cloned().collect();
        // Its own address as well: if another process answers there, two nodes have the same one.
        addresses.insert(self.info.address.clone());
        match &self.start {
            Start::Fresh => {}
            Start::Founding(identity) => {
                let founders = identity
                    .founders
                    .iter()
                    .flat_map(|founders| founders.values());
                addresses.extend(founders.map(|info| info.address.clone()));
            }
            Start::Untrusted(node) => addresses.extend(node.addresses.values().cloned()),
        }
        self.phase = Phase::Asked;
        let hello = Call::Hello(greeter.introduction());
        let calls = addresses
            .into_iter()
            .map(|address| (address, hello.clone()));
        Next::Call(calls.collect())
    }

    /// Two nodes with one address, or one node with two.
    fn impostor(&self) -> Option<String> {
        let me = &self.info.address;
        for (address, answer) in &self.answers {
            let Ok(CallAnswer::Hello(answer)) = answer else {
                continue;
            };
            let is_this = answer.process == self.process;
            if address == me && !is_this {
                return Some(format!(
                    "another node answers at {me}: two nodes must not have the same --cluster-broadcast-address"
                ));
            }
            if address != me && is_this {
                return Some(format!(
                    "--cluster-peer={address} is this node itself, whose --cluster-broadcast-address is {me}: use the same \
                     address in both"
                ));
            }
        }
        None
    }

    /// The other nodes' answers of this round.
    pub(super) fn others(&self) -> BTreeMap<String, Result<Introduction, String>> {
        let others = self.answers.iter();
        let others = others.filter(|(address, _)| **address != self.info.address);
        let introduced = others.map(|(address, answer)| {
            let answer = match answer {
                Ok(CallAnswer::Hello(introduction)) => Ok(introduction.clone()),
                Ok(CallAnswer::Later(why) | CallAnswer::Refused(why)) | Err(why) => {
                    Err(why.clone())
                }
                Ok(_) => Err("its answer does not fit the question".to_owned()),
            };
            (address.clone(), answer)
        });
        introduced.collect()
    }

    pub(super) fn store(&mut self, identity: Identity) -> Next {
        let identity = Box::new(identity);
        self.phase = Phase::Store(identity.clone());
        Next::Store(identity)
    }

    pub(super) fn over(&mut self, done: Done) -> Next {
        self.phase = Phase::Over(done.clone());
        Next::Done(done)
    }
}
