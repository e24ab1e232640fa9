//! A number that the config file may change while the program runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ConfigValue, FileError, FlagError, FlagShape, OptionValue, PutError};

/// A number that a reload of the config file replaces. Clones share it.
#[derive(Debug, Default, Clone)]
pub struct LiveNumber(Arc<AtomicU64>);

impl LiveNumber {
    /// One that begins as `number`.
    pub fn new(number: u64) -> Self {
        Self(Arc::new(AtomicU64::new(number)))
    }

    /// The number as it is now.
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number as a bound; `None` where 0 stands for none.
    pub fn bound(&self) -> Option<u64> {
        Some(self.current()).filter(|number| *number > 0)
    }

    fn edit<E>(&self, edit: impl FnOnce(&mut u64) -> Result<(), E>) -> Result<(), E> {
        let mut number = self.current();
        edit(&mut number)?;
        self.0.store(number, Ordering::Relaxed);
        Ok(())
    }
}

impl OptionValue for LiveNumber {
    fn shape(&self) -> FlagShape {
        self.current().shape()
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        self.edit(|number| number.set_from_flag(word))
    }

    fn set_from_file(&mut self, value: &toml::Value) -> Result<(), FileError> {
        self.edit(|number| number.set_from_file(value))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_changes_it_for_all_who_use_it_and_a_put_does_not() {
        let number = LiveNumber::new(7);
        let user = number.clone();
        number.adopt(&toml::Value::Integer(0)).unwrap();
        assert_eq!((user.current(), user.bound()), (0, None));
        assert_eq!(
            number.adopt(&toml::Value::Integer(-1)),
            Err(PutError::InvalidValue)
        );
        assert_eq!(number.put(b"5"), Err(PutError::InvalidOption));
        assert_eq!(user.current(), 0);
    }
}
