//! The same loads against several servers by turns, and a table of what each has cost them.

mod load;
mod table;

use nsq_protocol::TopicName;

use crate::{
    error::BenchError,
    options::{Compare, Server, unique_topic},
    report::Report,
};
use load::{LOADS, Load};
pub(crate) use table::Comparison;

/// Runs every load against every server, `--rounds` times; `seen` is told each run's report.
///
/// # Errors
/// Fewer than two servers, or one that cannot be reached or read.
pub(crate) fn run(
    options: &Compare,
    mut seen: impl FnMut(&Server, &Report),
) -> Result<Comparison, BenchError> {
    if options.servers.len() < 2 {
        return Err(BenchError::Usage(
            "compare needs two or more --server".to_owned(),
        ));
    }
    let mut comparison = Comparison::new(
        options
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
    );
    let is_asked_for = |load: &Load| {
        options
            .only
            .as_ref()
            .is_none_or(|part| load.name.contains(part.as_str()))
    };
    for round in 0..options.rounds {
        let topics: Vec<TopicName> = options.servers.iter().map(|_| unique_topic()).collect();
        for load in LOADS.iter().filter(|load| is_asked_for(load)) {
            for turn in 0..options.servers.len() {
                // Another one goes first in every round.
                let place = (turn + round as usize) % options.servers.len();
                let server = &options.servers[place];
                let report = load.run(options, server, &topics[place])?;
                seen(server, &report);
                comparison.add(load, place, &report);
            }
        }
    }
    Ok(comparison)
}
