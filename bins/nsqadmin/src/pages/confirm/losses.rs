//! What an action would cost at this moment.

use maud::{Markup, html};

use super::{Action, Place};
use crate::cluster::{Channel, Overview, Topic};
use crate::pages::format;
use crate::pages::state::{consumers, messages};

/// Messages that would be gone, consumers that would be cut off, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Losses {
    queued: i64,
    in_flight: i64,
    deferred: i64,
    consumers: i64,
    channels: Vec<String>,
    nodes: Vec<String>,
    /// Whether the action destroys anything: else only where it takes place is said.
    destroys: bool,
    /// Nodes that did not answer, and why: what they have is not in the numbers.
    silent: Vec<String>,
}

impl Losses {
    pub(super) fn of(action: &Action, overview: &Overview) -> Self {
        let mut losses = Self {
            silent: overview
                .nodes
                .iter()
                .filter_map(|node| Some((&node.address, node.stats.as_ref().err()?)))
                .map(|(address, failure)| format!("{address} ({})", failure.cause))
                .collect(),
            ..Self::default()
        };
        match action {
            Action::CreateTopic | Action::CreateChannel { .. } => losses.silent.clear(),
            Action::Pause(place) | Action::Unpause(place) => {
                for part in parts(overview, place) {
                    losses.nodes.push(part.node.to_string());
                }
            }
            Action::Empty(place) => {
                losses.destroys = true;
                for part in parts(overview, place) {
                    losses.nodes.push(part.node.to_string());
                    match &place.channel {
                        None => losses.queued = losses.queued.saturating_add(part.depth),
                        Some(name) => {
                            for channel in named(part, name) {
                                losses.add_channel(channel);
                            }
                        }
                    }
                }
            }
            Action::Delete(place) => {
                losses.destroys = true;
                for part in parts(overview, place) {
                    losses.nodes.push(part.node.to_string());
                    match &place.channel {
                        None => losses.add_topic(part),
                        Some(name) => {
                            for channel in named(part, name) {
                                losses.add_channel(channel);
                                losses.consumers =
                                    losses.consumers.saturating_add(channel.client_count);
                            }
                        }
                    }
                }
            }
            Action::Tombstone { topic, node } => {
                losses.destroys = true;
                let place = Place {
                    topic: topic.clone(),
                    channel: None,
                    node: Some(node.clone()),
                };
                for part in parts(overview, &place) {
                    losses.nodes.push(part.node.to_string());
                    losses.add_topic(part);
                }
            }
        }
        losses
    }

    /// How many messages would be gone.
    pub(super) fn messages(&self) -> i64 {
        self.queued
            .saturating_add(self.in_flight)
            .saturating_add(self.deferred)
    }

    pub(super) fn render(&self) -> Markup {
        let parts = [
            (self.queued, "waiting"),
            (self.in_flight, "in flight"),
            (self.deferred, "deferred"),
        ];
        html! {
            @if self.destroys {
                ul.losses data-test="losses" data-messages=(self.messages()) {
                    @if self.messages() == 0 {
                        li { "No messages would be lost." }
                    } @else {
                        li { strong { (messages(self.messages())) } " will be lost: "
                            @for (index, (count, word)) in parts.iter().enumerate() {
                                @if index > 0 { ", " } (format::grouped_signed(*count)) " " (word)
                            }
                            "."
                        }
                    }
                    @if self.consumers > 0 { li { strong { (consumers(self.consumers)) } " will be disconnected." } }
                    @if !self.channels.is_empty() {
                        li { (format::counted(length(&self.channels), "channel", "channels")) " will be deleted: " (few(&self.channels)) "." }
                    }
                    (self.places())
                }
            } @else if !self.nodes.is_empty() || !self.silent.is_empty() {
                ul.losses { (self.places()) }
            }
        }
    }

    fn places(&self) -> Markup {
        html! {
            @if !self.nodes.is_empty() {
                li { "On " (format::counted(length(&self.nodes), "node", "nodes")) ": " (few(&self.nodes)) "." }
            }
            @if !self.silent.is_empty() {
                li.loud-warn data-test="silent" { "Nodes that are not responding: " (few(&self.silent)) ". Their messages are missing from these numbers." }
            }
        }
    }

    fn add_topic(&mut self, part: &Topic) {
        self.queued = self.queued.saturating_add(part.depth);
        for channel in &part.channels {
            self.add_channel(channel);
            self.consumers = self.consumers.saturating_add(channel.client_count);
            let name = channel.channel_name.to_string();
            if !self.channels.contains(&name) {
                self.channels.push(name);
            }
        }
    }

    fn add_channel(&mut self, channel: &Channel) {
        self.queued = self.queued.saturating_add(channel.depth);
        self.in_flight = self.in_flight.saturating_add(channel.in_flight_count);
        self.deferred = self.deferred.saturating_add(channel.deferred_count);
    }
}

/// The topic on the nodes concerned; of a channel only those that have it.
fn parts<'o>(overview: &'o Overview, place: &'o Place) -> impl Iterator<Item = &'o Topic> {
    let topic = overview.topic(&place.topic);
    let parts = topic
        .into_iter()
        .flat_map(|topic| &topic.nodes)
        .map(|part| &**part);
    parts.filter(|part| {
        let on_node = place.node.as_deref().is_none_or(|node| *part.node == *node);
        on_node
            && place
                .channel
                .as_deref()
                .is_none_or(|name| named(part, name).next().is_some())
    })
}

fn named<'o>(part: &'o Topic, name: &'o str) -> impl Iterator<Item = &'o Channel> {
    part.channels
        .iter()
        .map(|channel| &**channel)
        .filter(move |channel| *channel.channel_name == *name)
}

fn few(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(MOST_NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST_NAMES {
        text = format!("{text} and {} more", names.len() - MOST_NAMES);
    }
    text
}

fn length(names: &[String]) -> u64 {
    u64::try_from(names.len()).unwrap_or(u64::MAX)
}

const MOST_NAMES: usize = 12;
