//! Becoming a member: carries out what the bootstrap decides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nsq_cluster::bootstrap::{Bootstrap, Call, CallAnswer, Done, Next};
use nsq_cluster::codec::{Answer, Request, Wire};
use nsq_cluster::identity::Identity;
use nsq_cluster::{GroupId, Member, NodeId};
use tokio::time::Instant;

use super::node::{ENDED, Node, Phase};
use super::this_node::ThisNode;

/// Runs the bootstrap to its end, however long that takes. `None` when nsqd stops before.
pub(super) async fn run(node: &Arc<Node>, mut bootstrap: Bootstrap) -> Option<Done> {
    let begun = Instant::now();
    let mut phase = node.phase();
    let mut said = String::new();
    loop {
        let next = bootstrap.next(&mut node.greeter(), begun.elapsed());
        match next {
            Next::Call(calls) => {
                let calls = calls.into_iter().map(|(address, call)| async move {
                    let answer = call_at(node, &address, &call).await;
                    (address, answer)
                });
                for (address, answer) in join_all(calls).await {
                    bootstrap.answered(&address, answer);
                }
            }
            Next::Store(identity) => match store(node, *identity).await {
                Ok(()) => {
                    bootstrap.stored(&mut node.greeter());
                    node.introduce();
                }
                Err(error) => say(
                    &mut said,
                    format!("this node's identity cannot be stored: {error}"),
                ),
            },
            Next::Wait(why) => say(&mut said, why),
            Next::Done(done) => return Some(done),
            Next::Fail(why) => node.fail(&why),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return None,
        }
    }
}

/// Writes the identity down, for as long as the disk takes.
pub(super) async fn store(node: &Arc<Node>, identity: Identity) -> Result<(), String> {
    let folder = node.folders.root();
    let stored = node.blocking(move || identity.store(&folder)).await;
    match stored {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(ENDED.to_owned()),
    }
}

/// Asks the node at an address, whatever its number is.
pub(super) async fn call_at(node: &Node, address: &str, call: &Call) -> Result<CallAnswer, String> {
    let member = Member {
        address: address.to_owned(),
    };
    let request = Request::Call {
        group: GroupId::DIRECTORY,
        body: call.to_bytes(),
    };
    let calling = node
        .network()
        .call(NodeId(0), &member, request, Some(TIMEOUT));
    match calling.await {
        Ok(Answer::Call(body)) => CallAnswer::from_bytes(body).map_err(|error| error.to_string()),
        Ok(Answer::Refused(refusal)) => Err(refusal.to_string()),
        Ok(_) => Err("its answer does not fit the question".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn say(said: &mut String, why: String) {
    if *said != why {
        tracing::info!("cluster: {why}");
        *said = why;
    }
}

/// Between two steps of the bootstrap.
const PAUSE: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(2);
