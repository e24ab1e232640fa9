//! The confirmation of an action: what it does, and what will be lost. A page of its own, and with the script a dialog.

mod losses;
#[cfg(test)]
mod tests;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::Overview;

use super::context::PageContext;
use super::form;
use super::layout::{Page, Section};
use losses::Losses;

/// An action that is shown for confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
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

impl Action {
    /// The action that a page's `?action=`, or a form's field of that name, asks for.
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
            // Never on one node alone: the others would bring it back.
            ("delete", _) => Self::Delete(Place {
                node: None,
                ..place
            }),
            ("tombstone", None) => Self::Tombstone { topic, node: node? },
            _ => return None,
        })
    }

    /// The value of the form's `action`.
    pub(crate) fn name(&self) -> &'static str {
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
    context: &PageContext<'_>,
    overview: &Overview,
    action: &Action,
    error: Option<&str>,
) -> Page {
    let body = html! {
        div.narrow { div.panel { (question(context, overview, action, error)) } }
    };
    let mut page = Page::new(title(action), Section::Topics, body);
    page.is_live = false;
    if error.is_some() {
        page.status = StatusCode::BAD_REQUEST;
    }
    page
}

fn question(
    context: &PageContext<'_>,
    overview: &Overview,
    action: &Action,
    error: Option<&str>,
) -> Markup {
    let here = match action {
        Action::CreateTopic => context.links.topics(),
        Action::CreateChannel { topic } | Action::Tombstone { topic, .. } => {
            context.links.topic(topic)
        }
        Action::Pause(place)
        | Action::Unpause(place)
        | Action::Empty(place)
        | Action::Delete(place) => match &place.channel {
            Some(channel) => context.links.channel(&place.topic, channel),
            None => context.links.topic(&place.topic),
        },
    };
    let typed = action.has_to_type(overview);
    let losses = Losses::of(action, overview);
    let destroys = matches!(
        action,
        Action::Empty(_) | Action::Delete(_) | Action::Tombstone { .. }
    );
    html! {
        section.confirm data-confirm=(action.name()) aria-labelledby="confirm-title" {
            h1 id="confirm-title" { (title(action)) }
            @if let Some(error) = error { p.loud-bad role="alert" data-test="confirm-error" { (error) } }
            (meaning(action, &losses))
            form.form method="post" action=(here) {
                (form::token(context))
                input type="hidden" name="action" value=(action.name());
                @if let Some(node) = action.node() { input type="hidden" name="node" value=(node); }
                @match action {
                    Action::CreateTopic => {
                        (name_field("topic", "Topic", true))
                        (name_field("channel", "Channel (optional)", false))
                        (first_message(overview))
                    }
                    Action::CreateChannel { .. } => { (name_field("channel", "Channel", true)) }
                    _ => {}
                }
                @if let Some(name) = typed {
                    div.field {
                        label for="typed" { "Type " span.mono { (name) } " to confirm" }
                        input id="typed" type="text" name="typed" required autocomplete="off" autocapitalize="off"
                            spellcheck="false" data-typed=(name) autofocus;
                    }
                }
                div.buttons {
                    a.button href=(here) data-cancel { "Cancel" }
                    button class={ "button " (if destroys { "danger-solid" } else { "primary" }) } type="submit" data-go {
                        (button(action))
                    }
                }
            }
        }
    }
}

/// On which nodes a new topic is created at once, and its first message.
fn first_message(overview: &Overview) -> Markup {
    let nodes = || overview.nodes.iter().filter(|node| node.stats.is_ok());
    html! {
        fieldset.field {
            legend.label { "Create on nodes (optional)" }
            @for node in nodes() {
                label.choice { input type="checkbox" name="on" value=(node.address); " " (node.address) }
            }
            span.hint { "Without a choice, " @if overview.lookupds.is_empty() { "every node creates it." }
                @else { "it is only registered with nsqlookupd, and appears on a node with its first message." } }
        }
        div.field {
            label for="new-body" { "First message (optional)" }
            textarea id="new-body" name="body" spellcheck="false" {}
            span.hint { "Published on the first chosen node, or on the first node of all." }
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

fn title(action: &Action) -> String {
    match action {
        Action::CreateTopic => "Create a topic".to_owned(),
        Action::CreateChannel { topic } => format!("Create a channel of {topic}"),
        Action::Pause(place) => format!("Pause {} {}{}?", place.kind(), place.name(), on(place)),
        Action::Unpause(place) => {
            format!("Unpause {} {}{}?", place.kind(), place.name(), on(place))
        }
        Action::Empty(place) => format!("Empty {} {}{}?", place.kind(), place.name(), on(place)),
        Action::Delete(place) => format!("Delete {} {}?", place.kind(), place.name()),
        Action::Tombstone { topic, node } => format!("Tombstone {topic} on {node}?"),
    }
}

fn button(action: &Action) -> String {
    match action {
        Action::CreateTopic => "Create topic".to_owned(),
        Action::CreateChannel { .. } => "Create channel".to_owned(),
        Action::Pause(place) => format!("Pause {}", place.kind()),
        Action::Unpause(place) => format!("Unpause {}", place.kind()),
        Action::Empty(place) => format!("Empty {}", place.kind()),
        Action::Delete(place) => format!("Delete {}", place.kind()),
        Action::Tombstone { .. } => "Tombstone".to_owned(),
    }
}

/// What the action means, and what it costs now.
fn meaning(action: &Action, losses: &Losses) -> Markup {
    let words = match action {
        Action::CreateTopic => {
            "Publishing or subscribing creates a topic too. Create it here if it has to exist before."
        }
        Action::CreateChannel { .. } => {
            "The channel gets every message published from now on, and the messages that wait at the topic."
        }
        Action::Pause(Place { channel: None, .. }) => {
            "Messages wait at the topic and reach no channel until it is unpaused. Publishing continues."
        }
        Action::Pause(_) => {
            "Consumers stay connected but get no more messages until it is unpaused. They may finish the messages they hold."
        }
        Action::Unpause(_) => "Delivery resumes on every node where it is paused.",
        Action::Empty(Place { channel: None, .. }) => {
            "Drops the messages that wait at the topic itself. Its channels keep theirs. This cannot be undone."
        }
        Action::Empty(_) => {
            "Drops everything in the channel. Consumers stay connected. This cannot be undone."
        }
        Action::Delete(Place { channel: None, .. }) => {
            "Deletes the topic with all its channels on all nodes and in nsqlookupd. Publishing to it recreates it. \
             This cannot be undone."
        }
        Action::Delete(_) => {
            "Deletes the channel on all nodes and in nsqlookupd. A consumer that subscribes recreates it, empty. \
             This cannot be undone."
        }
        Action::Tombstone { .. } => {
            "nsqlookupd no longer sends consumers of this topic to this node, and the topic is deleted there. Do this after the \
             publishers have left the node: publishing there again recreates the topic. This cannot be undone."
        }
    };
    html! {
        p { (words) }
        (losses.render())
    }
}
