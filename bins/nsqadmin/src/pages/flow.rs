//! The flow of a topic as a picture: nodes → topic → channels → consumers, widths by rate, red where it jams. Every part is
//! a link.

use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{Channel, Topic};
use crate::history::{Key, Metric};
use crate::watch::{ChannelState, Severity};

use super::context::PageContext;
use super::format::{self, Unit};

/// A box of the picture.
struct Block {
    y: f64,
    height: f64,
    title: String,
    more: String,
    link: String,
    class: &'static str,
    /// Messages per second.
    rate: f64,
}

/// The picture, or nothing for a topic without channels.
pub(crate) fn picture(
    context: &PageContext<'_>,
    topic: &Topic,
    states: &[Option<ChannelState>],
) -> Markup {
    if topic.channels.is_empty() || topic.channels.len() > MOST_CHANNELS {
        return html! {};
    }
    let nodes = nodes(context, topic);
    let channels: Vec<(Block, f64, &Channel)> = topic
        .channels
        .iter()
        .zip(states)
        .map(|(channel, state)| block_of_channel(context, topic, channel, state.as_ref()))
        .collect();
    let rows = nodes.len().max(channels.len());
    let height = ROW * wide(rows) + 16.0;
    let place = |mut blocks: Vec<Block>| {
        let top = (height - ROW * wide(blocks.len())) / 2.0;
        for (index, block) in blocks.iter_mut().enumerate() {
            block.y = top + ROW * wide(index);
        }
        blocks
    };
    let nodes = place(nodes);
    let (channels, details): (Vec<Block>, Vec<(f64, &Channel)>) = channels
        .into_iter()
        .map(|(block, finished, channel)| (block, (finished, channel)))
        .unzip();
    let channels = place(channels);
    let largest = nodes
        .iter()
        .chain(&channels)
        .map(|block| block.rate)
        .chain(details.iter().map(|(finished, _)| *finished))
        .fold(0.1, f64::max);
    let width = |rate: f64| (rate / largest * 14.0).clamp(1.0, 14.0);
    let middle = height / 2.0;
    let sum: f64 = nodes.iter().map(|block| block.rate).sum();
    html! {
        section.panel id="flow" aria-labelledby="flow-title" {
            div.panel-head { h2 id="flow-title" { "Flow" } span.muted { "Widths by message rate; red where messages jam" } }
            div.flow-scroll tabindex="0" role="region" aria-label="Flow of messages" {
                svg.flow viewBox={ "-1 0 1002 " (height) } width="1002" height=(height) role="group" aria-label="Flow of messages from nodes through the topic and its channels to consumers" {
                    @for node in &nodes {
                        (stream(X[0] + WIDTH, node.y + BOX / 2.0, X[1], middle, width(node.rate), "plain"))
                    }
                    @for (channel, (finished, source)) in channels.iter().zip(&details) {
                        @let y = channel.y + BOX / 2.0;
                        (stream(X[1] + WIDTH, middle, X[2], y, width(channel.rate), "plain"))
                        (stream(X[2] + WIDTH, y, X[3], y, width(*finished), if source.client_count == 0 { "none" } else { channel.class }))
                    }
                    @for node in &nodes { (boxed(X[0], node)) }
                    (boxed(X[1], &Block {
                        y: middle - BOX / 2.0,
                        height: BOX,
                        title: topic.topic_name.to_string(),
                        more: if topic.paused { "paused".to_owned() } else { format!("{} in", Unit::PerSecond.short(sum)) },
                        link: context.links.topic(&topic.topic_name),
                        class: if topic.depth > 0 { "warn" } else { "plain" },
                        rate: sum,
                    }))
                    @for channel in &channels { (boxed(X[2], channel)) }
                    @for (channel, (finished, source)) in channels.iter().zip(&details) {
                        (boxed(X[3], &consumers(channel, *finished, source)))
                    }
                }
            }
        }
    }
}

/// Where messages are published, with the rate on each node.
fn nodes(context: &PageContext<'_>, topic: &Topic) -> Vec<Block> {
    let mut blocks: Vec<Block> = topic
        .nodes
        .iter()
        .map(|part| {
            let key = Key::TopicOnNode(Arc::clone(&topic.topic_name), Arc::clone(&part.node));
            let rate = context.nsqadmin.history.latest(&key, Metric::Messages);
            Block {
                y: 0.0,
                height: BOX,
                title: part.node.to_string(),
                more: rate.map_or_else(
                    || "–".to_owned(),
                    |rate| format!("{} published", Unit::PerSecond.short(rate)),
                ),
                link: context.links.node(&part.node),
                class: "plain",
                rate: rate.unwrap_or(0.0),
            }
        })
        .collect();
    blocks.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    if blocks.len() > MOST_NODES {
        let rest = blocks.split_off(MOST_NODES - 1);
        let rate: f64 = rest.iter().map(|block| block.rate).sum();
        blocks.push(Block {
            y: 0.0,
            height: BOX,
            title: format!("{} more nodes", rest.len()),
            more: format!("{} published", Unit::PerSecond.short(rate)),
            link: context.links.nodes(),
            class: "plain",
            rate,
        });
    }
    blocks
}

/// A channel, with what is finished per second.
fn block_of_channel<'t>(
    context: &PageContext<'_>,
    topic: &Topic,
    channel: &'t Channel,
    state: Option<&ChannelState>,
) -> (Block, f64, &'t Channel) {
    let (received, finished) = state.and_then(|state| state.rates).unwrap_or_default();
    let class = match state.map(|state| state.severity) {
        Some(Severity::Bad) => "bad",
        Some(Severity::Warn) => "warn",
        _ => "plain",
    };
    let block = Block {
        y: 0.0,
        height: BOX,
        title: channel.channel_name.to_string(),
        more: format!("{} waiting", format::grouped_signed(channel.depth)),
        link: context
            .links
            .channel(&topic.topic_name, &channel.channel_name),
        class,
        rate: received,
    };
    (block, finished, channel)
}

fn consumers(channel: &Block, finished: f64, source: &Channel) -> Block {
    Block {
        y: channel.y,
        height: BOX,
        title: super::state::consumers(source.client_count),
        more: format!("{} finished", Unit::PerSecond.short(finished)),
        link: format!("{}#consumers-title", channel.link),
        class: match (source.client_count, source.depth) {
            (0, 0) => "idle",
            (0, _) => "bad",
            _ => channel.class,
        },
        rate: finished,
    }
}

fn stream(from_x: f64, from_y: f64, to_x: f64, to_y: f64, width: f64, class: &str) -> Markup {
    let bend = (to_x - from_x) / 2.0;
    let path = format!(
        "M{from_x:.0} {from_y:.1}C{:.0} {from_y:.1} {:.0} {to_y:.1} {to_x:.0} {to_y:.1}",
        from_x + bend,
        to_x - bend
    );
    html! { path.stream.(class) d=(path) stroke-width=(format!("{width:.1}")) {} }
}

fn boxed(x: f64, block: &Block) -> Markup {
    // About what fits the box; the whole name is in the title.
    let title: String = if block.title.chars().count() > LONGEST_TITLE {
        let beginning: String = block.title.chars().take(LONGEST_TITLE - 1).collect();
        format!("{beginning}…")
    } else {
        block.title.clone()
    };
    html! {
        a href=(block.link) {
            g.block.(block.class) {
                title { (block.title) ": " (block.more) }
                rect x=(x) y=(block.y) width=(WIDTH) height=(block.height) rx="5" {}
                text.block-title x=(x + 8.0) y=(block.y + 16.0) { (title) }
                text.block-more x=(x + 8.0) y=(block.y + 31.0) { (block.more) }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few rows")]
fn wide(count: usize) -> f64 {
    count as f64
}

/// The left edges of the four columns.
const X: [f64; 4] = [0.0, 270.0, 540.0, 810.0];
const WIDTH: f64 = 190.0;
const BOX: f64 = 38.0;
const ROW: f64 = 48.0;
const LONGEST_TITLE: usize = 25;
/// With more, a picture shows less than the table does.
const MOST_CHANNELS: usize = 24;
const MOST_NODES: usize = 12;
