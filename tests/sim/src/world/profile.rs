//! A profile: what happens in a run, and how often.

use super::{CHANNELS, TOPICS};
use crate::random::Random;

/// What happens in a run, and how often. It is drawn for each seed, so that different seeds try different things.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches, each drawn on its own"
)]
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) steps: u64,
    pub(super) publish: u64,
    pub(super) consume: u64,
    pub(super) connect: u64,
    pub(super) disconnect: u64,
    pub(super) pass: u64,
    pub(super) manage: u64,
    pub(super) upkeep: u64,
    pub(super) end: u64,
    pub(super) faults: u64,
    pub(super) drain: u64,
    pub(super) max_body: usize,
    pub(super) topics: usize,
    pub(super) channels: usize,
    pub(super) sync_publish: bool,
    pub(super) power_cuts: bool,
    pub(super) flips: bool,
    pub(super) clock_jumps: bool,
}

impl Profile {
    pub(super) fn draw(chance: &mut Random) -> Profile {
        Profile {
            steps: 50 + chance.below(350),
            publish: 1 + chance.below(10),
            consume: 1 + chance.below(20),
            connect: 1 + chance.below(5),
            disconnect: chance.below(3),
            pass: 1 + chance.below(6),
            manage: chance.below(4),
            upkeep: chance.below(8),
            end: chance.below(4),
            faults: if chance.chance(30) {
                1 + chance.below(3)
            } else {
                0
            },
            drain: chance.below(2),
            max_body: [300, 300, 3000, 20_000][chance.index(4)],
            topics: 1 + chance.index(TOPICS.len()),
            channels: 1 + chance.index(CHANNELS.len()),
            sync_publish: chance.chance(35),
            power_cuts: chance.chance(60),
            flips: chance.chance(15),
            clock_jumps: chance.chance(30),
        }
    }
}
