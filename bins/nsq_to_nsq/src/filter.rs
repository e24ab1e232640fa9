//! `--require-json-field`, `--require-json-value` and `--whitelist-json-field`: which messages pass, and what of them.

use serde_json::{Map, Value};

use crate::go_json;

/// What is asked of a message.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    required: Option<Required>,
    /// Fields that pass; empty for all, as they are.
    whitelist: Vec<String>,
}

#[derive(Debug, Clone)]
struct Required {
    field: String,
    value: Option<RequiredValue>,
}

#[derive(Debug, Clone)]
struct RequiredValue {
    text: String,
    /// `None` if the text is no number, and then no number equals it.
    number: Option<f64>,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Passes as it is.
    Unchanged,
    /// This passes in its place.
    Changed(Vec<u8>),
    /// Does not pass, as was asked for.
    Drop,
    /// Is no JSON object, and does not pass.
    Undecodable,
    /// The field whose value is to be compared is not there, which is a failure.
    NothingToCompare,
}

impl Filter {
    /// From the three flags; `None` if they ask for nothing. Without a field its value does not count.
    pub(crate) fn new(field: &str, value: &str, whitelist: &[String]) -> Option<Self> {
        let required = (!field.is_empty()).then(|| Required {
            field: field.to_owned(),
            value: (!value.is_empty()).then(|| RequiredValue {
                text: value.to_owned(),
                number: value.parse().ok(),
            }),
        });
        (required.is_some() || !whitelist.is_empty()).then(|| Self {
            required,
            whitelist: whitelist.to_vec(),
        })
    }

    /// Judges a message by its body.
    pub(crate) fn judge(&self, body: &[u8]) -> Verdict {
        let Some(object) = go_json::object(body) else {
            return Verdict::Undecodable;
        };
        if let Some(required) = &self.required {
            match (object.get(&required.field), &required.value) {
                (Some(_), None) => {}
                (Some(found), Some(value)) if value.equals(found) => {}
                (Some(_), Some(_)) | (None, None) => return Verdict::Drop,
                (None, Some(_)) => return Verdict::NothingToCompare,
            }
        }
        if self.whitelist.is_empty() {
            return Verdict::Unchanged;
        }
        Verdict::Changed(go_json::text(&self.pick(object)))
    }

    fn pick(&self, mut object: Map<String, Value>) -> Map<String, Value> {
        let fields = self.whitelist.iter();
        fields
            .filter_map(|field| object.remove_entry(field))
            .collect()
    }
}

impl RequiredValue {
    fn equals(&self, found: &Value) -> bool {
        match found {
            Value::String(text) => *text == self.text,
            Value::Number(number) => self.number.is_some() && number.as_f64() == self.number,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(field: &str, value: &str, whitelist: &[&str], body: &str) -> Verdict {
        let whitelist: Vec<_> = whitelist.iter().map(ToString::to_string).collect();
        let filter = Filter::new(field, value, &whitelist).unwrap();
        filter.judge(body.as_bytes())
    }

    fn changed(text: &str) -> Verdict {
        Verdict::Changed(text.into())
    }

    #[test]
    fn nothing_is_asked_unless_a_field_is_named() {
        assert!(Filter::new("", "value", &[]).is_none());
    }

    #[test]
    fn only_objects_can_be_judged_and_null_is_an_empty_one() {
        for body in [
            "",
            "x",
            "[1]",
            "1",
            "\"a\"",
            "{\"a\":1",
            "{} x",
            "{\"a\":1e400}",
        ] {
            assert_eq!(judge("a", "", &[], body), Verdict::Undecodable, "{body}");
        }
        assert_eq!(judge("a", "", &[], "null"), Verdict::Drop);
        assert_eq!(judge("", "", &["a"], "null"), changed("{}"));
    }

    #[test]
    fn a_required_field_may_have_any_value() {
        assert_eq!(judge("a", "", &[], r#"{"a":null}"#), Verdict::Unchanged);
        assert_eq!(judge("a", "", &[], r#"{"b":1}"#), Verdict::Drop);
    }

    #[test]
    fn a_required_value_is_compared_as_text_or_as_a_number() {
        for (value, body, expected) in [
            ("x", r#"{"a":"x"}"#, Verdict::Unchanged),
            ("x", r#"{"a":"X"}"#, Verdict::Drop),
            ("5", r#"{"a":"5"}"#, Verdict::Unchanged),
            ("5", r#"{"a":5}"#, Verdict::Unchanged),
            ("5.0", r#"{"a":5}"#, Verdict::Unchanged),
            ("5.0", r#"{"a":"5"}"#, Verdict::Drop),
            ("5e0", r#"{"a":5.0}"#, Verdict::Unchanged),
            ("6", r#"{"a":5}"#, Verdict::Drop),
            ("x", r#"{"a":5}"#, Verdict::Drop),
            ("true", r#"{"a":true}"#, Verdict::Drop),
            ("null", r#"{"a":null}"#, Verdict::Drop),
            ("x", r#"{"b":1}"#, Verdict::NothingToCompare),
        ] {
            assert_eq!(judge("a", value, &[], body), expected, "{value} {body}");
        }
    }

    #[test]
    fn fields_pass_sorted_once_each_and_only_if_they_are_there() {
        let body = r#"{"z": "<&>", "c": 2, "b" : {"y":1,"x":[1.50]}, "a":1}"#;
        assert_eq!(
            judge("", "", &["z", "b", "missing", "a", "a"], body),
            changed(r#"{"a":1,"b":{"x":[1.5],"y":1},"z":"\u003c\u0026\u003e"}"#)
        );
        assert_eq!(judge("", "", &["q"], body), changed("{}"));
        assert_eq!(
            judge("", "", &["a"], r#"{"a":1,"a":2}"#),
            changed(r#"{"a":2}"#)
        );
    }
}
