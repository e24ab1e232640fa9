//! A load generator for nsqd: what a message costs the server, and how long it is under way.
//!
//! ```text
//! options ─▶ run ─┬─ coordinator ─▶ one thread each: publisher, subscriber ─▶ report
//!                 └─ process: the server's CPU time and memory
//! idle: connections without messages
//! suite: starts servers, many runs against each ─▶ result file ─▶ document: tables and charts
//! ```
//!
//! It has to be cheap itself, since it shares the machine with what it measures: commands are
//! encoded once and sent again and again, and no message allocates anything.

mod clock;
mod command_block;
mod connection;
mod coordinator;
mod crowd;
mod document;
mod error;
mod floor;
mod idle;
mod inbox;
mod latency;
mod layers;
mod options;
mod peer;
mod process;
mod progress;
mod publisher;
mod report;
mod run;
mod schedule;
mod subscriber;
mod suite;
mod tied;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use options::{Command, Common, Options, unique_topic};
use run::Plan;

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to do should this fail.
            let _ = writeln!(io::stderr(), "nsq_bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Carries the command out, prints its report, and says whether all went well.
fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Publish(options) => {
            let json = options.common.json;
            let topic = options.topic.unwrap_or_else(unique_topic);
            let plan = Plan {
                publishing: Some((options.connections, options.publishing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("publish", options.common, topic, options::default_channel())
            };
            print_run(&plan, json)
        }
        Command::Subscribe(options) => {
            let json = options.common.json;
            let plan = Plan {
                subscribing: Some((options.connections, options.subscribing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("subscribe", options.common, options.topic, options.channel)
            };
            print_run(&plan, json)
        }
        Command::Both(options) => {
            let json = options.common.json;
            let topic = options.topic.unwrap_or_else(unique_topic);
            let plan = Plan {
                publishing: Some((options.connections, options.publishing)),
                subscribing: Some((options.subscribers, options.subscribing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("both", options.common, topic, options.channel)
            };
            print_run(&plan, json)
        }
        Command::Idle(options) => {
            let report = idle::run(&options)?;
            if options.common.json {
                print(&serde_json::to_string(&report)?)?;
            } else {
                print(&report.to_string())?;
            }
            Ok(report.failures.is_empty())
        }
        Command::Suite(options) => suite::run(&options),
        Command::Document(options) => document::run(&options).map(|()| true),
        Command::Floor(options) => floor::run(&options).map(|()| true),
        Command::Tied(options) => tied::run(&options).map(|()| true),
    }
}

/// A plan that does nothing yet.
fn plan(
    load: &str,
    common: Common,
    topic: nsq_protocol::TopicName,
    channel: nsq_protocol::ChannelName,
) -> Plan {
    Plan {
        load: load.to_owned(),
        address: common.address,
        pid: common.pid,
        topic,
        channel,
        publishing: None,
        subscribing: None,
        messages: None,
        duration: None,
        patience: common.patience,
        layers: common.layers,
    }
}

fn print_run(plan: &Plan, json: bool) -> anyhow::Result<bool> {
    let report = plan.run()?;
    if json {
        print(&report.to_json().to_string())?;
    } else {
        print(report.to_string().trim_end())?;
    }
    // Also where a script sees it that keeps the JSON apart.
    for failure in &report.failures {
        writeln!(io::stderr(), "nsq_bench: {failure}")?;
    }
    Ok(report.failures.is_empty())
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot print the report")
}
