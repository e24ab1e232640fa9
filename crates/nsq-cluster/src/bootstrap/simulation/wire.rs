//! Messages between the nodes: late, lost, but in order from one process to another.

use super::world::{Event, Time, World};
use super::*;

impl World {
    pub(super) fn call(&mut self, from: usize, process: u128, address: &str, body: Call) {
        let call = self.next_number + 1;
        let lost = self.schedule(
            CALL_TIMEOUT,
            Event::Answer {
                call,
                to: (from, process),
                answer: Err("timed out".to_owned()),
            },
        );
        assert_eq!(lost, call);
        let running = self.process(from, process).expect("it has just called");
        running.calls.insert(call, address.to_owned());
        let to = self.nodes.iter().position(|node| node.address == address);
        let to = to.expect("only nodes are called");
        if self.is_lost() {
            return;
        }
        let delay = self.delay();
        let earliest = self.order.entry((process, to)).or_default();
        let at = (self.now + delay).max(*earliest);
        *earliest = at;
        let from = (from, process);
        self.schedule(
            at - self.now,
            Event::Arrive {
                call,
                from,
                to,
                body,
            },
        );
    }

    pub(super) fn arrive(&mut self, call: u64, from: (usize, u128), to: usize, body: &Call) {
        let Some(running) = &mut self.nodes[to].process else {
            let answer = Err("connection refused".to_owned());
            self.schedule(
                1,
                Event::Answer {
                    call,
                    to: from,
                    answer,
                },
            );
            return;
        };
        let process = running.number;
        match running.greeter.handle(body) {
            Handled::Answer(answer) => self.reply(call, from, answer),
            Handled::Store(identity, answer) => {
                let delay = self.random.below(300);
                let answer = Some((call, from, answer));
                let node = to;
                self.schedule(
                    delay,
                    Event::Stored {
                        node,
                        process,
                        identity,
                        answer,
                    },
                );
            }
            Handled::ForLeader => {
                let Call::Join(join) = body else {
                    panic!("only joins are for the leader");
                };
                let answer = self.admit(to, join);
                self.reply(call, from, answer);
            }
        }
    }

    pub(super) fn reply(&mut self, call: u64, to: (usize, u128), answer: CallAnswer) {
        if !self.is_lost() {
            let delay = self.delay();
            let answer = Ok(answer);
            self.schedule(delay, Event::Answer { call, to, answer });
        }
    }

    pub(super) fn answered(
        &mut self,
        call: u64,
        to: (usize, u128),
        answer: Result<CallAnswer, String>,
    ) {
        let Some(running) = self.process(to.0, to.1) else {
            return;
        };
        let Some(address) = running.calls.remove(&call) else {
            return;
        };
        if let Some(bootstrap) = &mut running.bootstrap {
            bootstrap.answered(&address, answer);
        }
        if running.calls.is_empty() {
            self.schedule(0, Event::Step(to.0, to.1));
        }
    }

    pub(super) fn probe(&mut self, address: &str) -> Result<Introduction, String> {
        if self.is_lost() {
            return Err("timed out".to_owned());
        }
        let node = self.nodes.iter().find(|node| node.address == address);
        let running = node.and_then(|node| node.process.as_ref());
        let running = running.ok_or("connection refused")?;
        Ok(running.greeter.introduction())
    }

    pub(super) fn is_lost(&mut self) -> bool {
        !self.is_calm() && self.random.below(5) == 0
    }

    pub(super) fn delay(&mut self) -> Time {
        let longest = if self.is_calm() { 20 } else { 900 };
        1 + self.random.below(longest)
    }
}

const CALL_TIMEOUT: Time = 2_000;
