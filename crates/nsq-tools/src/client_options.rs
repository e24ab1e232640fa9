//! `--consumer-opt` and `--producer-opt`: the client's own options by name.

use std::ops::{Deref, DerefMut};

use nsq_client::Config;
use nsq_daemon::options::{ConfigValue, FileError, FileValue, FlagError, FlagShape, OptionValue};
use nsq_daemon::stop::Stop;

use crate::fatal;

/// A client configuration that a repeatable flag changes, `name,value` at a time.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    config: Config,
}

impl ClientOptions {
    /// The configuration for a utility: its user agent is the program's, whatever the options said, as upstream's.
    pub fn for_program(&self, program: &str) -> Config {
        let mut config = self.config.clone();
        config.user_agent = user_agent(program);
        config
    }

    /// The same for a consumer, whose `--max-in-flight` is a flag of its own.
    ///
    /// # Errors
    /// When it is negative, or the options do not hold together.
    pub fn for_consumer(&self, program: &str, max_in_flight: i64) -> Result<Config, Stop> {
        if max_in_flight < 0 {
            let text = format!("invalid max_in_flight ! {max_in_flight} < 0");
            return Err(fatal(text));
        }
        let mut config = self.for_program(program);
        // More are never on their way at once.
        config.max_in_flight = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
        config.validate().map_err(fatal)?;
        Ok(config)
    }
}

/// The user agent that a utility sends to nsqd, such as `nsq_tail/1.3.0 go-nsq/1.1.0`: upstream's words, so that dashboards and
/// rules that look for them continue to work.
pub fn user_agent(program: &str) -> String {
    format!("{program}/{} go-nsq/1.1.0", nsq_daemon::version::VERSION)
}

impl Deref for ClientOptions {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for ClientOptions {
    fn deref_mut(&mut self) -> &mut Config {
        &mut self.config
    }
}

impl OptionValue for ClientOptions {
    fn shape(&self) -> FlagShape {
        FlagShape::Valued("value")
    }

    fn set_from_flag(&mut self, word: &str) -> Result<(), FlagError> {
        self.config
            .set_pair(word)
            .map_err(|error| FlagError::Refused(error.to_string()))
    }

    fn set_from_file(&mut self, _: &FileValue) -> Result<(), FileError> {
        Err(FileError::Coerce(
            "the utilities have no config file".to_owned(),
        ))
    }

    fn usage_default(&self) -> Option<String> {
        None
    }

    fn config_value(&self) -> ConfigValue {
        ConfigValue::Json("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_add_up_and_errors_name_the_option() {
        let mut options = ClientOptions::default();
        options.set_from_flag("max-attempts,9").unwrap();
        options.set_from_flag("sample_rate,7").unwrap();
        assert_eq!((options.max_attempts, options.sample_rate), (9, 7));
        let error = options.set_from_flag("bogus,1").unwrap_err();
        assert_eq!(error, FlagError::Refused("invalid option bogus".to_owned()));
    }

    #[test]
    fn max_in_flight_is_the_flags_and_not_negative() {
        let mut options = ClientOptions::default();
        options.set_from_flag("max_in_flight,3").unwrap();
        let config = options.for_consumer("nsq_tail", 200).unwrap();
        assert_eq!(config.max_in_flight, 200);
        assert_eq!(
            options.for_consumer("nsq_tail", -1).unwrap_err(),
            fatal("invalid max_in_flight ! -1 < 0")
        );
    }

    #[test]
    fn the_user_agent_is_the_programs_own() {
        let mut options = ClientOptions::default();
        options.set_from_flag("user_agent,mine").unwrap();
        let config = options.for_program("nsq_tail");
        assert_eq!(config.user_agent, "nsq_tail/1.3.0 go-nsq/1.1.0");
    }
}
