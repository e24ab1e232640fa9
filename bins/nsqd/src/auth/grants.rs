//! What an authorization server granted.

use std::time::Duration;

use nsq_core::Tick;
use nsq_daemon::go_pattern::PatternError;
use nsq_server::{Action, Grants, Permissions};
use serde_json::{Map, Value};

use super::pattern::{Pattern, Patterns};

/// What a client may do.
#[derive(Debug)]
struct Authorizations(Vec<Authorization>);

#[derive(Debug, Default)]
struct Authorization {
    may_subscribe: bool,
    may_publish: bool,
    topic: Option<Pattern>,
    channels: Vec<Pattern>,
}

/// An answer that cannot be taken. None of it counts then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer has {key} that is not {wanted}")]
    Shape {
        key: &'static str,
        wanted: &'static str,
    },
    #[error("unknown permission {0}")]
    Permission(String),
    #[error("unable to compile {what} {text:?} {why}")]
    Pattern {
        what: &'static str,
        text: String,
        why: PatternError,
    },
    #[error("the answer has more than {MOST_PATTERNS} topics and channels")]
    TooMany,
    #[error("invalid TTL {0} (must be >0)")]
    Ttl(i64),
}

impl Permissions for Authorizations {
    /// Compat: publishing has the empty channel, so it takes a channel pattern that matches that too
    /// (`IsAllowed`, authorizations.go).
    fn allow(&self, topic: &str, action: Action<'_>) -> bool {
        self.0.iter().any(|authorization| {
            let (is_permitted, channel) = match action {
                Action::Publish => (authorization.may_publish, ""),
                Action::Subscribe(channel) => (authorization.may_subscribe, channel),
            };
            let has_topic = |pattern: &Pattern| pattern.is_in(topic);
            is_permitted
                // No topic at all is the empty pattern, which is found everywhere.
                && authorization.topic.as_ref().is_none_or(has_topic)
                && authorization.channels.iter().any(|pattern| pattern.is_in(channel))
        })
    }
}

/// Reads a server's answer.
///
/// Compat: as Go's `encoding/json`, so keys match in either case, unknown ones are ignored, and what is
/// missing or `null` is empty.
pub(crate) fn read_answer(
    answer: &Value,
    patterns: &Patterns,
    now: Tick,
) -> Result<Grants, AnswerError> {
    let nothing = Map::new();
    let state = object(answer, "a value", &nothing)?;
    let mut pattern_count = 0;
    let mut compile = |what, value: &Value| {
        let text = text(value, what)?;
        pattern_count += 1;
        if pattern_count > MOST_PATTERNS {
            return Err(AnswerError::TooMany);
        }
        patterns
            .compile(&text)
            .map_err(|why| AnswerError::Pattern { what, text, why })
    };
    let mut authorizations = Vec::new();
    for value in list(state, "authorizations")? {
        let object = object(value, "an authorization", &nothing)?;
        let mut authorization = Authorization::default();
        for value in list(object, "permissions")? {
            match text(value, "a permission")?.as_str() {
                "subscribe" => authorization.may_subscribe = true,
                "publish" => authorization.may_publish = true,
                other => return Err(AnswerError::Permission(other.to_owned())),
            }
        }
        let topic = field(object, "topic");
        authorization.topic = topic.map(|value| compile("topic", value)).transpose()?;
        for value in list(object, "channels")? {
            authorization.channels.push(compile("channel", value)?);
        }
        authorizations.push(authorization);
    }
    let wrong_ttl = AnswerError::Shape {
        key: "a ttl",
        wanted: "an integer",
    };
    let ttl = match field(state, "ttl") {
        None => 0,
        Some(value) => value.as_i64().ok_or(wrong_ttl)?,
    };
    let seconds = u64::try_from(ttl).ok().filter(|&seconds| seconds > 0);
    let ttl = seconds.ok_or(AnswerError::Ttl(ttl))?;
    let text_field = |key| field(state, key).map_or(Ok(String::new()), |value| text(value, key));
    Ok(Grants {
        identity: text_field("identity")?,
        identity_url: text_field("identity_url")?,
        count: authorizations.len(),
        expires: now.after(Duration::from_secs(ttl)),
        permissions: Box::new(Authorizations(authorizations)),
    })
}

/// The value of `key`, unless it is `null`.
fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let value = object.get(key).or_else(|| {
        let mut others = object.iter();
        others.find_map(|(name, value)| name.eq_ignore_ascii_case(key).then_some(value))
    });
    value.filter(|value| !value.is_null())
}

fn list<'a>(object: &'a Map<String, Value>, key: &'static str) -> Result<&'a [Value], AnswerError> {
    match field(object, key) {
        None => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(AnswerError::Shape {
            key,
            wanted: "a list",
        }),
    }
}

fn object<'a>(
    value: &'a Value,
    key: &'static str,
    nothing: &'a Map<String, Value>,
) -> Result<&'a Map<String, Value>, AnswerError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(nothing),
        _ => Err(AnswerError::Shape {
            key,
            wanted: "an object",
        }),
    }
}

fn text(value: &Value, key: &'static str) -> Result<String, AnswerError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        _ => Err(AnswerError::Shape {
            key,
            wanted: "a text",
        }),
    }
}

/// Patterns in one answer. They take memory for as long as the client is there.
const MOST_PATTERNS: usize = 4096;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Tick = Tick::from_nanos(5);

    fn read(answer: &Value) -> Result<Grants, AnswerError> {
        read_answer(answer, &Patterns::default(), NOW)
    }

    fn granting(authorization: &Value) -> Grants {
        read(&json!({"ttl": 60, "authorizations": [authorization]})).unwrap()
    }

    #[track_caller]
    fn check_error(answer: &Value, expected: &str) {
        let error = read(answer).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn an_authorization_permits_what_all_of_it_permits() {
        let grants = granting(&json!({
            "topic": "^t$", "channels": ["^c$"], "permissions": ["subscribe", "publish"],
        }));
        assert!(grants.allow("t", Action::Subscribe("c")));
        assert!(!grants.allow("t", Action::Subscribe("d")));
        assert!(!grants.allow("u", Action::Subscribe("c")));
        // No channel of its own matches the empty one.
        assert!(!grants.allow("t", Action::Publish));
    }

    #[test]
    fn publishing_takes_its_permission_and_a_channel_that_may_be_empty() {
        for (channels, permissions, is_allowed) in [
            (json!([".*"]), json!(["publish"]), true),
            (json!(["c", ""]), json!(["publish"]), true),
            (json!(["c"]), json!(["publish"]), false),
            (json!([]), json!(["publish"]), false),
            (json!([".*"]), json!(["subscribe"]), false),
        ] {
            let authorization = json!({"channels": channels, "permissions": permissions});
            let grants = granting(&authorization);
            assert_eq!(
                grants.allow("t", Action::Publish),
                is_allowed,
                "{authorization}"
            );
        }
    }

    #[test]
    fn authorizations_are_not_mixed() {
        let grants = read(&json!({"ttl": 60, "authorizations": [
            {"topic": "^a$", "channels": [".*"], "permissions": ["publish"]},
            {"topic": "^b$", "channels": [".*"], "permissions": ["subscribe"]},
        ]}))
        .unwrap();
        assert_eq!(grants.count, 2);
        assert!(grants.allow("a", Action::Publish) && !grants.allow("b", Action::Publish));
        assert!(grants.allow("b", Action::Subscribe("c")));
        assert!(!grants.allow("a", Action::Subscribe("c")));
    }

    #[test]
    fn keys_match_in_either_case_and_null_is_nothing() {
        let grants = read(
            &json!({"TTL": 1, "Identity": "i", "identity_url": null, "extra": [],
            "authorizations": null}),
        )
        .unwrap();
        assert_eq!(
            (grants.identity.as_str(), grants.identity_url.as_str()),
            ("i", "")
        );
        assert_eq!(grants.count, 0);
        assert!(!grants.allow("t", Action::Publish));
        assert!(!grants.are_expired(NOW));
        assert!(grants.are_expired(NOW.after(Duration::from_secs(2))));
        read(&json!({"ttl": i64::MAX})).unwrap();
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        check_error(&json!({}), "invalid TTL 0 (must be >0)");
        check_error(&json!(null), "invalid TTL 0 (must be >0)");
        check_error(&json!({"ttl": -1}), "invalid TTL -1 (must be >0)");
        check_error(
            &json!({"ttl": "60"}),
            "the answer has a ttl that is not an integer",
        );
        check_error(
            &json!({"ttl": 1.5}),
            "the answer has a ttl that is not an integer",
        );
        check_error(&json!([]), "the answer has a value that is not an object");
        check_error(&json!({"identity": 1}), "invalid TTL");
        check_error(
            &json!({"ttl": 1, "identity": 1}),
            "the answer has identity that is not a text",
        );
        check_error(
            &json!({"authorizations": {}}),
            "the answer has authorizations that is not a list",
        );
        let with = |authorization: Value| json!({"ttl": 1, "authorizations": [authorization]});
        check_error(
            &with(json!({"permissions": ["write"]})),
            "unknown permission write",
        );
        check_error(
            &with(json!({"topic": "("})),
            "unable to compile topic \"(\" regex parse error",
        );
        check_error(
            &with(json!({"channels": ["a", "["]})),
            "unable to compile channel \"[\" ",
        );
        let many = vec!["a"; MOST_PATTERNS + 1];
        check_error(
            &with(json!({"channels": many})),
            "the answer has more than 4096",
        );
    }
}
