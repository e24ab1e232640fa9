//! Random faults, one after the other, under load. `CLUSTER_FAULTS` says how many; `SEED` repeats a campaign.

use std::time::{Duration, SystemTime};

use nsq_tests::{Cluster, say_loudly};
use rustix::process::Signal;

use crate::faults::under_load;

const FEW_FAULTS: u64 = 4;

/// Small random numbers from a seed that is reported.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let given = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seed = given.unwrap_or_else(|| u64::from(since.subsec_nanos()));
        say_loudly(&format!("the campaign's seed is {seed}"));
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.below(3)).expect("it is small")
    }
}

#[test]
fn random_faults_under_load_lose_nothing() {
    let faults = std::env::var("CLUSTER_FAULTS");
    let faults = faults.map_or(FEW_FAULTS, |text| text.parse().expect("it is a number"));
    let mut dice = Dice::new();
    let mut cluster = Cluster::start(3, &["--msg-timeout=2s"]);
    let what = format!("{faults} random faults");
    under_load(&what, &mut cluster, |cluster, traffic| {
        for _ in 0..faults {
            let node = dice.node();
            std::thread::sleep(Duration::from_millis(dice.below(300)));
            match dice.below(8) {
                0..=3 => {
                    cluster[node].kill9();
                    std::thread::sleep(Duration::from_millis(dice.below(2000)));
                    cluster[node].start_again();
                }
                4 | 5 => {
                    // A second disk may only be lost once everything is held by all again.
                    cluster.wait_until_ok();
                    cluster.lose(node);
                    std::thread::sleep(Duration::from_millis(dice.below(2000)));
                    cluster[node].start_again();
                    cluster.wait_until_ok();
                }
                6 => {
                    cluster[node].notify(Signal::STOP);
                    std::thread::sleep(Duration::from_millis(dice.below(4000)));
                    cluster[node].notify(Signal::CONT);
                }
                _ => {
                    assert!(cluster[node].terminate().success());
                    cluster[node].start_again();
                }
            }
            traffic.wait_for_publishes(50);
        }
        cluster.wait_until_ok();
    });
}
