//! Options that may be given several times: strings, percentiles, and the strings that change
//! while the program runs.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use super::numbers::float_from_file;
use super::{ConfigValue, FileError, FlagError, FlagShape, OptionValue, PutError};

/// Strings, one for each time the flag is given; a comma in a flag's value does not split it.
///
/// An empty list knows whether it was made so: `/config/<key>` shows a list never set as `[]`
/// and one set to nothing as `null`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StringList {
    items: Vec<String>,
    is_null: bool,
}

impl StringList {
    fn of(items: Vec<String>) -> Self {
        let is_null = items.is_empty();
        Self { items, is_null }
    }

    fn json(&self) -> String {
        if self.is_null {
            return "null".to_owned();
        }
        serde_json::Value::from(self.items.clone()).to_string()
    }
}

impl Deref for StringList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.items
    }
}

impl OptionValue for StringList {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        self.items.push(word.to_owned());
        Ok(())
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        let items = match value {
            // Compat: a string is split on commas and its parts keep their spaces (go-options).
            toml::Value::String(text) => text.split(',').map(str::to_owned).collect(),
            toml::Value::Array(items) => items
                .iter()
                .map(|item| match item {
                    toml::Value::String(text) => Ok(text.clone()),
                    other => Err(FileError::Coerce(format!(
                        "a {} in the list is not a string",
                        other.type_str()
                    ))),
                })
                .collect::<Result<_, _>>()?,
            other => {
                let kind = other.type_str();
                return Err(FileError::Coerce(format!("a {kind} is not a list")));
            }
        };
        *self = Self::of(items);
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        (!self.items.is_empty()).then(|| self.items.join(","))
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json(self.json())
    }
}

/// A [`StringList`] that a PUT to `/config/<key>` replaces while the program runs. Clones share
/// one list.
#[derive(Debug, Default, Clone)]
pub struct LiveList {
    // Held for a clone of the pointer or its exchange only.
    list: Arc<Mutex<Arc<StringList>>>,
}

impl LiveList {
    /// The list as it is now.
    pub fn current(&self) -> Arc<StringList> {
        Arc::clone(&self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, list: StringList) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }

    fn edit<E>(&self, edit: impl FnOnce(&mut StringList) -> Result<(), E>) -> Result<(), E> {
        let mut list = StringList::clone(&self.current());
        edit(&mut list)?;
        self.replace(list);
        Ok(())
    }
}

impl OptionValue for LiveList {
    fn shape(&self) -> FlagShape {
        self.current().shape()
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        self.edit(|list| list.set_from_flag(word))
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        self.edit(|list| list.set_from_file(value))
    }

    fn usage_default(&self) -> Option<String> {
        self.current().usage_default()
    }

    fn config_value(&self) -> ConfigValue {
        self.current().config_value()
    }

    fn adopt(&self, value: &toml::Value) -> Result<(), PutError> {
        self.clone()
            .set_from_file(value)
            .map_err(|_| PutError::InvalidValue)
    }

    /// Takes a JSON array of strings, or `null`; a `null` within the array is an empty string.
    fn put(&self, body: &[u8]) -> Result<(), PutError> {
        let items: Option<Vec<Option<String>>> =
            serde_json::from_slice(body).map_err(|_| PutError::InvalidValue)?;
        let is_null = items.is_none();
        let items = items.unwrap_or_default();
        self.replace(StringList {
            items: items.into_iter().map(Option::unwrap_or_default).collect(),
            is_null,
        });
        Ok(())
    }
}

/// Floats: the flag takes several at once with commas between them, and keeps them highest first.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct FloatList {
    items: Vec<f64>,
    is_null: bool,
}

impl Deref for FloatList {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.items
    }
}

impl OptionValue for FloatList {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        for part in word.split(',') {
            // Compat: upstream ends here with a bare line instead of a usage error (FloatArray.Set).
            let number = part
                .parse()
                .map_err(|_| FlagError::Abort(format!("Could not parse: {part}")))?;
            self.items.push(number);
        }
        self.items.sort_by(|a, b| b.total_cmp(a));
        Ok(())
    }

    /// Compat: the file's order is kept, only the flag sorts (go-options, coerceFloat64Slice).
    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        let items = match value {
            toml::Value::String(text) => text
                .split(',')
                .map(|part| float_from_file(&toml::Value::String(part.to_owned())))
                .collect::<Result<Vec<_>, _>>()?,
            toml::Value::Array(items) => items
                .iter()
                .map(float_from_file)
                .collect::<Result<Vec<_>, _>>()?,
            other => {
                let kind = other.type_str();
                return Err(FileError::Coerce(format!("a {kind} is not a list")));
            }
        };
        let is_null = items.is_empty();
        *self = Self { items, is_null };
        Ok(())
    }

    fn usage_default(&self) -> Option<String> {
        let items: Vec<_> = self.items.iter().map(|item| format!("{item:.6}")).collect();
        (!items.is_empty()).then(|| items.join(","))
    }

    fn config_value(&self) -> ConfigValue {
        if self.is_null {
            return ConfigValue::Json("null".to_owned());
        }
        // Not serde_json's form: a whole number has no `.0` here.
        let items: Vec<_> = self.items.iter().map(f64::to_string).collect();
        ConfigValue::Json(format!("[{}]", items.join(",")))
    }
}
