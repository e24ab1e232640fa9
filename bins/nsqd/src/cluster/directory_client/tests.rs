//! Changes of the directory on their way, with a fake link and a fake network.

use std::collections::VecDeque;
use std::sync::Mutex;

use nsq_cluster::codec::Refusal;
use nsq_cluster::directory::Refused;
use nsq_cluster::network::Calling;
use nsq_protocol::TopicName;

use super::*;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

/// What the link does, one after the other; the last one again and again.
#[derive(Debug, Clone)]
enum Reaction {
    /// No leader is known.
    None(&'static str),
    /// This node leads, and its group reacts like this.
    Here(Changed),
    /// Another node leads, and answers like this.
    There(Result<Answer, CallError>),
}

#[derive(Debug)]
struct Fake {
    reactions: Mutex<VecDeque<Reaction>>,
    tries: Mutex<usize>,
}

impl Fake {
    fn next(&self) -> Reaction {
        *self.tries.lock().unwrap() += 1;
        let mut reactions = self.reactions.lock().unwrap();
        let next = reactions.front().unwrap().clone();
        if reactions.len() > 1 {
            reactions.pop_front();
        }
        next
    }
}

#[derive(Debug)]
struct FakeLink(Arc<Fake>, Mutex<Option<Reaction>>);

impl Link for FakeLink {
    fn node(&self) -> Option<NodeId> {
        Some(ME)
    }

    fn leader(&self) -> Result<(NodeId, Member), &'static str> {
        let next = self.0.next();
        let leader = match &next {
            Reaction::None(why) => return Err(why),
            Reaction::Here(_) => ME,
            Reaction::There(_) => OTHER,
        };
        *self.1.lock().unwrap() = Some(next);
        let address = "n:4152".to_owned();
        Ok((leader, Member { address }))
    }

    fn propose(&self, _: Bytes) -> BoxFuture<'_, Changed> {
        let Some(Reaction::Here(changed)) = self.1.lock().unwrap().take() else {
            panic!("it does not lead");
        };
        Box::pin(async move { changed })
    }

    fn network(&self) -> Arc<dyn Network> {
        let Some(Reaction::There(answer)) = self.1.lock().unwrap().take() else {
            panic!("it leads");
        };
        Arc::new(FakeNetwork(answer))
    }
}

#[derive(Debug)]
struct FakeNetwork(Result<Answer, CallError>);

impl Network for FakeNetwork {
    fn call(&self, to: NodeId, _: &Member, request: Request, _: Option<Duration>) -> Calling {
        let Request::Call { group, body } = request else {
            panic!("{request:?}");
        };
        assert_eq!((to, group), (OTHER, NODE));
        assert_eq!(
            Call::from_bytes(body),
            Ok(Call::Change(change().to_bytes()))
        );
        let answer = self.0.clone();
        Box::pin(async move { answer })
    }
}

fn change() -> Change {
    Change::DeleteTopic(TopicName::parse("t").unwrap())
}

fn done() -> Changed {
    Changed::Outcome(Outcome::Done(7).to_bytes())
}

fn answered(changed: &Changed) -> Reaction {
    Reaction::There(Ok(Answer::Call(changed.to_bytes())))
}

/// What becomes of the change, and how often it is tried.
async fn check(
    reactions: impl Into<VecDeque<Reaction>>,
    is_repeatable: bool,
) -> (Result<Outcome, String>, usize) {
    let fake = Arc::new(Fake {
        reactions: Mutex::new(reactions.into()),
        tries: Mutex::new(0),
    });
    let client = DirectoryClient {
        link: Arc::new(FakeLink(Arc::clone(&fake), Mutex::new(None))),
        hold: Duration::from_millis(120),
        timeout: Duration::from_secs(5),
    };
    let outcome = client.change(&change(), is_repeatable).await;
    let tries = *fake.tries.lock().unwrap();
    (outcome.map_err(|error| error.to_string()), tries)
}

#[tokio::test]
async fn a_change_is_made_here_or_by_the_node_that_leads() {
    let made = (Ok(Outcome::Done(7)), 1);
    assert_eq!(check([Reaction::Here(done())], false).await, made);
    assert_eq!(check([answered(&done())], false).await, made);
    let refused = Outcome::Refused(Refused::NoSuchTopic(TopicName::parse("t").unwrap()));
    let reaction = answered(&Changed::Outcome(refused.to_bytes()));
    assert_eq!(check([reaction], false).await, (Ok(refused), 1));
}

#[tokio::test]
async fn a_change_that_was_not_made_is_tried_again_until_a_leader_makes_it() {
    let busy = Reaction::There(Ok(Answer::Refused(Refusal::Busy)));
    for reaction in [
        Reaction::None(NO_LEADER),
        Reaction::Here(Changed::NotLeading),
        answered(&Changed::NotLeading),
        Reaction::There(Err(CallError::NotSent("refused".to_owned()))),
        busy,
    ] {
        let reactions = [reaction, Reaction::Here(done())];
        assert_eq!(check(reactions, false).await, (Ok(Outcome::Done(7)), 2));
    }
}

#[tokio::test]
async fn without_a_leader_the_error_says_why() {
    let (outcome, tries) = check([Reaction::None(FORMING)], false).await;
    assert_eq!(outcome, Err(FORMING.to_owned()));
    assert!(tries > 1, "{tries}");
    let not_sent = Err(CallError::NotSent("connection refused".to_owned()));
    let (outcome, _) = check([Reaction::There(not_sent)], true).await;
    let why = "node 2 at n:4152, the leader of the cluster's directory: connection refused";
    assert_eq!(outcome, Err(why.to_owned()));
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_repeated_only_if_that_is_harmless() {
    for reaction in [
        Reaction::Here(Changed::Unconfirmed("lost".to_owned())),
        answered(&Changed::Unconfirmed("lost".to_owned())),
        Reaction::There(Err(CallError::Unreachable("reset".to_owned()))),
        Reaction::There(Ok(Answer::Refused(Refusal::Failed("x".to_owned())))),
        Reaction::There(Ok(Answer::Call(Bytes::from_static(b"garbage")))),
    ] {
        let reactions = [reaction, Reaction::Here(done())];
        let (outcome, tries) = check(reactions.clone(), false).await;
        let why = outcome.unwrap_err();
        assert!(
            why.ends_with("; the change may or may not have been made"),
            "{why}"
        );
        assert_eq!(tries, 1);
        assert_eq!(check(reactions, true).await, (Ok(Outcome::Done(7)), 2));
    }
}
