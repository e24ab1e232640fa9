//! Before anything is done: what exactly, and what will be lost. A page of its own, and with the script a dialog.

mod losses;
#[cfg(test)]
mod tests;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::Overview;

use super::form;
use super::layout::{Page, Section};
use super::visit::Visit;
use losses::Losses;

/// What somebody is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    CreateTopic,
    CreateChannel { topic: String },
    Pause(Place),
    Unpause(Place),
    Empty(Place),
    Delete(Place),
    Tombstone { topic: String, node: String },
}

/// A topic or a channel of it; on one node, or on all that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) channel: Option<String>,
    pub(crate) node: Option<String>,
}

impl Place {
    /// `topic` or `channel`.
    pub(crate) fn kind(&self) -> &'static str {
        if self.channel.is_some() {
            "channel"
        } else {
            "topic"
        }
    }

    /// The name that is typed to confirm.
    pub(crate) fn name(&self) -> &str {
        self.channel.as_deref().unwrap_or(&self.topic)
    }
}

impl Deed {
    /// The deed that a page's `?action=`, or a form's field of that name, asks for.
    pub(crate) fn parse(
        action: &str,
        topic: Option<&str>,
        channel: Option<&str>,
        node: Option<&str>,
    ) -> Option<Self> {
        let Some(topic) = topic else {
            return (action == "create").then_some(Self::CreateTopic);
        };
        let node = node.filter(|node| !node.is_empty()).map(str::to_owned);
        let topic = topic.to_owned();
        let place = Place {
            topic: topic.clone(),
            channel: channel.map(str::to_owned),
            node: node.clone(),
        };
        Some(match (action, channel) {
            ("create-channel", None) => Self::CreateChannel { topic },
            ("pause", _) => Self::Pause(place),
            ("unpause", _) => Self::Unpause(place),
            ("empty", _) => Self::Empty(place),
            // Nobody deletes on one node alone: the others would bring it back.
            ("delete", _) => Self::Delete(Place {
                node: None,
                ..place
            }),
            ("tombstone", None) => Self::Tombstone { topic, node: node? },
            _ => return None,
        })
    }

    /// The value of the form's `action`.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::CreateTopic => "create",
            Self::CreateChannel { .. } => "create-channel",
            Self::Pause(_) => "pause",
            Self::Unpause(_) => "unpause",
            Self::Empty(_) => "empty",
            Self::Delete(_) => "delete",
            Self::Tombstone { .. } => "tombstone",
        }
    }

    /// What has to be typed, if messages would be lost by it.
    pub(crate) fn has_to_type<'d>(&'d self, overview: &Overview) -> Option<&'d str> {
        let losses = Losses::of(self, overview);
        let name = match self {
            Self::Empty(place) | Self::Delete(place) => place.name(),
            Self::Tombstone { topic, .. } => topic,
            _ => return None,
        };
        (losses.messages() > 0).then_some(name)
    }

    fn node(&self) -> Option<&str> {
        match self {
            Self::Pause(place)
            | Self::Unpause(place)
            | Self::Empty(place)
            | Self::Delete(place) => place.node.as_deref(),
            Self::Tombstone { node, .. } => Some(node),
            _ => None,
        }
    }
}

/// The page that asks. `error` says why the last try was not taken.
pub(crate) fn page(
    visit: &Visit<'_>,
    overview: &Overview,
    deed: &Deed,
    error: Option<&str>,
) -> Page {
    let body = html! {
        div.narrow { div.panel { (question(visit, overview, deed, error)) } }
    };
    let mut page = Page::new(title(deed), Section::Topics, body);
    page.is_live = false;
    if error.is_some() {
        page.status = StatusCode::BAD_REQUEST;
    }
    page
}

fn question(visit: &Visit<'_>, overview: &Overview, deed: &Deed, error: Option<&str>) -> Markup {
    let here = match deed {
        Deed::CreateTopic => visit.links.topics(),
        Deed::CreateChannel { topic } | Deed::Tombstone { topic, .. } => visit.links.topic(topic),
        Deed::Pause(place) | Deed::Unpause(place) | Deed::Empty(place) | Deed::Delete(place) => {
            match &place.channel {
                Some(channel) => visit.links.channel(&place.topic, channel),
                None => visit.links.topic(&place.topic),
            }
        }
    };
    let typed = deed.has_to_type(overview);
    let losses = Losses::of(deed, overview);
    let destroys = matches!(
        deed,
        Deed::Empty(_) | Deed::Delete(_) | Deed::Tombstone { .. }
    );
    html! {
        section.confirm data-confirm=(deed.action()) aria-labelledby="confirm-title" {
            h2 id="confirm-title" { (title(deed)) }
            @if let Some(error) = error { p.loud-bad role="alert" data-test="confirm-error" { (error) } }
            (meaning(deed, &losses))
            form.form method="post" action=(here) {
                (form::token(visit))
                input type="hidden" name="action" value=(deed.action());
                @if let Some(node) = deed.node() { input type="hidden" name="node" value=(node); }
                @match deed {
                    Deed::CreateTopic => {
                        (name_field("topic", "Topic", true))
                        (name_field("channel", "Channel (optional)", false))
                    }
                    Deed::CreateChannel { .. } => { (name_field("channel", "Channel", true)) }
                    _ => {}
                }
                @if let Some(name) = typed {
                    div.field {
                        label for="typed" { "Type " span.mono { (name) } " to go on" }
                        input id="typed" type="text" name="typed" required autocomplete="off" autocapitalize="off"
                            spellcheck="false" data-typed=(name) autofocus;
                    }
                }
                div.buttons {
                    a.button href=(here) data-cancel { "Cancel" }
                    button class={ "button " (if destroys { "danger-solid" } else { "primary" }) } type="submit" data-go {
                        (button(deed))
                    }
                }
            }
        }
    }
}

fn name_field(name: &str, label: &str, required: bool) -> Markup {
    html! {
        div.field {
            label for={ "new-" (name) } { (label) }
            input id={ "new-" (name) } type="text" name=(name) required[required] maxlength="64" autocomplete="off"
                autocapitalize="off" spellcheck="false" pattern="[.a-zA-Z0-9_\\-]+(#ephemeral)?"
                title="1 to 64 of: letters, digits, dot, hyphen, underscore; it may end in #ephemeral" autofocus[required];
            span.hint { "1 to 64 letters, digits, “.”, “-” or “_”; may end in “#ephemeral”." }
        }
    }
}

fn on(place: &Place) -> String {
    place
        .node
        .as_ref()
        .map(|node| format!(" on {node}"))
        .unwrap_or_default()
}

fn title(deed: &Deed) -> String {
    match deed {
        Deed::CreateTopic => "Create a topic".to_owned(),
        Deed::CreateChannel { topic } => format!("Create a channel of {topic}"),
        Deed::Pause(place) => format!("Pause {} {}{}?", place.kind(), place.name(), on(place)),
        Deed::Unpause(place) => format!("Unpause {} {}{}?", place.kind(), place.name(), on(place)),
        Deed::Empty(place) => format!("Empty {} {}{}?", place.kind(), place.name(), on(place)),
        Deed::Delete(place) => format!("Delete {} {}?", place.kind(), place.name()),
        Deed::Tombstone { topic, node } => format!("Tombstone {topic} on {node}?"),
    }
}

fn button(deed: &Deed) -> String {
    match deed {
        Deed::CreateTopic => "Create topic".to_owned(),
        Deed::CreateChannel { .. } => "Create channel".to_owned(),
        Deed::Pause(place) => format!("Pause {}", place.kind()),
        Deed::Unpause(place) => format!("Unpause {}", place.kind()),
        Deed::Empty(place) => format!("Empty {}", place.kind()),
        Deed::Delete(place) => format!("Delete {}", place.kind()),
        Deed::Tombstone { .. } => "Tombstone".to_owned(),
    }
}

/// What the deed means, and what it costs now.
fn meaning(deed: &Deed, losses: &Losses) -> Markup {
    let words = match deed {
        Deed::CreateTopic => {
            "With nsqlookupd the topic is registered there, and appears on a node with its first message; without, every node creates it."
        }
        Deed::CreateChannel { .. } => {
            "The channel gets every message published from now on, and those that wait at the topic."
        }
        Deed::Pause(Place { channel: None, .. }) => {
            "Messages will wait at the topic and reach no channel until it is unpaused. Publishing goes on."
        }
        Deed::Pause(_) => {
            "Consumers stay connected and get nothing more until it is unpaused. What they hold, they may finish."
        }
        Deed::Unpause(_) => "Delivery goes on, on every node where it is paused.",
        Deed::Empty(Place { channel: None, .. }) => {
            "Drops the messages that wait at the topic itself. Its channels keep theirs. This cannot be undone."
        }
        Deed::Empty(_) => {
            "Drops everything in the channel. Consumers stay connected. This cannot be undone."
        }
        Deed::Delete(Place { channel: None, .. }) => {
            "Deletes the topic with all its channels on all nodes and in nsqlookupd. Whoever publishes to it again makes it anew. \
             This cannot be undone."
        }
        Deed::Delete(_) => {
            "Deletes the channel on all nodes and in nsqlookupd. A consumer that subscribes again makes it anew, empty. \
             This cannot be undone."
        }
        Deed::Tombstone { .. } => {
            "nsqlookupd stops telling consumers of this node for this topic, and the topic is deleted there. Do this after the \
             publishers have left the node: who publishes there again brings the topic back. This cannot be undone."
        }
    };
    html! {
        p { (words) }
        (losses.render())
    }
}
