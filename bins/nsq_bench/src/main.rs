//! A load generator for nsqd: what a message costs the server, and how long it is under way.

mod own_topic;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use nsq_bench::{
    idle,
    options::{self, Command, Common, Options, unique_topic},
    run::Plan,
};
use nsq_protocol::{ChannelName, TopicName};

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If standard error is closed, the exit code has to do.
            let _ = writeln!(io::stderr(), "nsq_bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command, prints its report, and returns whether all went well.
fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Publish(options) => with_topic(options.topic, &options.common, |common, topic| {
            let json = common.json;
            let plan = Plan {
                publishing: Some((options.connections, options.publishing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("publish", common, topic, options::default_channel())
            };
            print_run(&plan, json)
        }),
        Command::Subscribe(options) => {
            let json = options.common.json;
            let plan = Plan {
                subscribing: Some((options.connections, options.subscribing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("subscribe", &options.common, options.topic, options.channel)
            };
            print_run(&plan, json)
        }
        Command::Both(options) => with_topic(options.topic, &options.common, |common, topic| {
            let json = common.json;
            let plan = Plan {
                publishing: Some((options.connections, options.publishing)),
                subscribing: Some((options.subscribers, options.subscribing)),
                messages: options.bounds.messages,
                duration: options.bounds.duration,
                ..plan("both", common, topic, options.channel)
            };
            print_run(&plan, json)
        }),
        Command::Idle(options) => {
            let report = idle::run(&options)?;
            if options.common.json {
                print(&serde_json::to_string(&report)?)?;
            } else {
                print(&report.to_string())?;
            }
            Ok(report.failures.is_empty())
        }
    }
}

/// Has `run` use the topic that was named, or one of its own, which is deleted afterwards.
fn with_topic(
    named: Option<TopicName>,
    common: &Common,
    run: impl FnOnce(&Common, TopicName) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let is_own = named.is_none() && !common.keep_topic;
    let topic = named.unwrap_or_else(unique_topic);
    let outcome = run(common, topic.clone());
    if is_own && let Err(error) = own_topic::delete(common, &topic) {
        // What was measured still holds.
        writeln!(
            io::stderr(),
            "nsq_bench: the topic {topic} is left - {error:#}"
        )?;
    }
    outcome
}

/// A plan that does nothing yet.
fn plan(load: &str, common: &Common, topic: TopicName, channel: ChannelName) -> Plan {
    Plan {
        load: load.to_owned(),
        address: common.address.clone(),
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
    // On standard error too, for scripts that redirect the JSON.
    for failure in &report.failures {
        writeln!(io::stderr(), "nsq_bench: {failure}")?;
    }
    Ok(report.failures.is_empty())
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot print the report")
}
