//! The simulated network: requests and answers arrive late, twice, in another order, or not at all.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use super::Sim;
use super::disk::Life;
use super::world::World;
use crate::codec::{Answer, Request, Wire};
use crate::network::{CallError, Calling, Network};
use crate::{Member, NodeId};

/// How one node reaches the others.
#[derive(Clone, Debug)]
pub(super) struct SimNetwork {
    pub(super) world: World,
    pub(super) me: NodeId,
    pub(super) life: Life,
}

impl Network for SimNetwork {
    fn call(&self, to: NodeId, _: &Member, request: Request, timeout: Option<Duration>) -> Calling {
        let (world, me) = (self.world.clone(), self.me);
        // What travels is bytes.
        let bytes = request.to_bytes();
        let is_over = self.life.is_over();
        let under_way = async move {
            if is_over {
                std::future::pending::<()>().await;
            }
            let (answer, received) = tokio::sync::oneshot::channel();
            drop(Sim::spawn(deliver(world, me, to, bytes, answer)));
            match received.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        };
        Box::pin(async move {
            // A connection that breaks is noticed sooner or later.
            let limit = timeout.unwrap_or(BROKEN_AFTER);
            match Sim::timeout(limit, under_way).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::TimedOut(limit)),
            }
        })
    }
}

/// Takes a request to its node and the answer back. Whatever gets lost drops `answer`.
async fn deliver(
    world: World,
    me: NodeId,
    to: NodeId,
    bytes: bytes::Bytes,
    answer: tokio::sync::oneshot::Sender<Result<Answer, CallError>>,
) {
    let Some((delay, is_doubled)) = world.travel(me, to) else {
        return;
    };
    Sim::sleep(delay).await;
    let Some(replica) = world.replica(to) else {
        let _ = answer.send(Err(CallError::Unreachable("connection refused".to_owned())));
        return;
    };
    let request = Request::from_bytes(bytes).expect("what was encoded is decoded");
    if is_doubled {
        let (replica, request) = (replica.clone(), request.clone());
        drop(Sim::spawn(async move {
            drop(replica.handle(me, request).await);
        }));
    }
    let answered = replica.handle(me, request).await;
    let answered = Answer::from_bytes(answered.to_bytes()).expect("what was encoded is decoded");
    if let Some((delay, _)) = world.travel(to, me) {
        Sim::sleep(delay).await;
        let _ = answer.send(Ok(answered));
    }
}

const BROKEN_AFTER: Duration = Duration::from_secs(30);
