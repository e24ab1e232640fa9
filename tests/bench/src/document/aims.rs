//! The aims, and whether a run has reached them.

use std::fmt::Write as _;

use crate::{
    document::{
        number::digits,
        table::{figure, values},
    },
    suite::{
        beside, costs,
        result::{CPU, Line, P50, P99, RATE},
        tails,
    },
};

/// One aim: a figure of the run and its bound.
struct Aim {
    work: &'static str,
    /// How the figure is read.
    of: &'static str,
    bound: Bound,
    measured: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The table of aims. `None` when the run has none of their figures.
pub(crate) fn table(lines: &[Line]) -> Option<String> {
    let aims = aims(lines);
    if aims.iter().all(|aim| aim.measured.is_none()) {
        return None;
    }
    let mut out = "| work | | aim | measured | |\n|---|---|---:|---:|---|\n".to_owned();
    for aim in aims {
        let (aimed, is_met) = match aim.bound {
            Bound::AtMost(most) => (
                format!("at most {}", digits(most)),
                aim.measured.map(|value| value <= most),
            ),
            Bound::AtLeast(least) => (
                format!("at least {}", digits(least)),
                aim.measured.map(|value| value >= least),
            ),
        };
        let word = match is_met {
            None => "not measured",
            Some(true) => "met",
            Some(false) => "**missed**",
        };
        let measured = aim.measured.map_or("-".to_owned(), digits);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {} | {} | {aimed} | {measured} | {word} |",
            aim.work, aim.of
        );
    }
    Some(out)
}

fn aims(lines: &[Line]) -> Vec<Aim> {
    let beside = |load, subject, unit| figure(lines, beside::PART, load, subject, unit);
    let here = |load| beside(load, beside::HERE, CPU);
    let over =
        |one: Option<f64>, other: Option<f64>| Some(one? / other.filter(|&value| value > 0.0)?);
    let upstream_over_here = |load| over(beside(load, beside::UPSTREAM_MEMORY, CPU), here(load));
    let over_floor = |load| over(here(load), beside(load, beside::FLOOR, CPU));
    let tail = |load, unit| figure(lines, tails::PART, load, tails::HERE, unit);
    let cost = |load, unit| {
        values(lines, costs::PART)
            .find(|v| v.load == load && v.unit == unit && v.subject == "here")
            .map(|v| v.value)
    };
    let synced = |load| beside(load, beside::HERE_SYNCED, RATE);
    let aim = |work, of, bound, measured| Aim {
        work,
        of,
        bound,
        measured,
    };
    let (most, least) = (Bound::AtMost, Bound::AtLeast);
    vec![
        aim("MPUB of 200", CPU, most(0.20), here(beside::PUBLISH)),
        aim(
            "MPUB of 200",
            UPSTREAM,
            least(10.0),
            upstream_over_here(beside::PUBLISH),
        ),
        aim("consume and FIN", CPU, most(0.20), here(beside::CONSUME)),
        aim(
            "consume and FIN",
            UPSTREAM,
            least(17.0),
            upstream_over_here(beside::CONSUME),
        ),
        aim(
            "PUB one by one, 1 connection",
            FLOOR,
            most(1.3),
            over_floor(beside::ONE_BY_ONE),
        ),
        aim(
            "PUB pipelined 64",
            FLOOR,
            most(0.9),
            over_floor(beside::PIPELINED),
        ),
        aim(
            "both live, MPUB of 200",
            CPU,
            most(0.45),
            here(beside::LIVE),
        ),
        aim(
            "both live, MPUB of 200",
            UPSTREAM,
            least(11.0),
            upstream_over_here(beside::LIVE),
        ),
        aim(
            "1,000 PUB a second",
            P50,
            most(100.0),
            tail(tails::SINGLE, P50),
        ),
        aim(
            "1,000 PUB a second",
            P99,
            most(400.0),
            tail(tails::SINGLE, P99),
        ),
        aim(
            "50,000 a second in batches of 10",
            P99,
            most(500.0),
            tail(tails::BATCHES, P99),
        ),
        aim(
            "16 publishers that share syncs",
            "rate ÷ that of one publisher",
            least(12.0),
            over(synced(beside::SIXTEEN), synced(beside::ONE_BY_ONE)),
        ),
        aim(
            "a message of 200 bytes on four channels",
            "bytes of disk: one copy",
            most(350.0),
            cost(costs::FOUR_CHANNELS, costs::DISK),
        ),
        aim(
            "a message in flight",
            "bytes of heap",
            most(64.0),
            cost(costs::IN_FLIGHT, costs::HEAP),
        ),
        aim(
            "10,000 idle connections",
            costs::MIB,
            most(100.0),
            cost(costs::IDLE, costs::MIB),
        ),
        aim(
            "10,000 idle connections",
            costs::CORE,
            most(1.0),
            cost(costs::IDLE, costs::CORE),
        ),
    ]
}

const UPSTREAM: &str = "upstream's CPU ÷ here";
const FLOOR: &str = "CPU ÷ the floor's";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::table::tests::line;

    #[test]
    fn aims_are_met_missed_or_not_measured() {
        let lines = [
            line(beside::PART, beside::PUBLISH, beside::HERE, CPU, 0.19),
            line(
                beside::PART,
                beside::PUBLISH,
                beside::UPSTREAM_MEMORY,
                CPU,
                1.71,
            ),
            line(beside::PART, beside::ONE_BY_ONE, beside::HERE, CPU, 13.0),
            line(beside::PART, beside::ONE_BY_ONE, beside::FLOOR, CPU, 10.0),
        ];
        let text = table(&lines).unwrap();
        for row in [
            "| MPUB of 200 | µs CPU a message | at most 0.20 | 0.19 | met |",
            "| MPUB of 200 | upstream's CPU ÷ here | at least 10.0 | 9.00 | **missed** |",
            "| PUB one by one, 1 connection | CPU ÷ the floor's | at most 1.30 | 1.30 | met |",
            "| PUB pipelined 64 | CPU ÷ the floor's | at most 0.90 | - | not measured |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }

    #[test]
    fn without_figures_there_is_no_table() {
        assert_eq!(table(&[]), None);
    }
}
