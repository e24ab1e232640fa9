//! Where a consuming utility's messages come from: nsqds by address, or nsqlookupds that know them.

use nsq_client::Consumer;
use nsq_daemon::stop::Stop;

use crate::fatal;

/// Exactly one kind of address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// `--nsqd-tcp-address`.
    Nsqds(Vec<String>),
    /// `--lookupd-http-address`.
    Lookupds(Vec<String>),
}

impl Sources {
    /// From the two flags.
    ///
    /// # Errors
    /// When there are none, or of both kinds. `dot` ends the first text: `nsq_to_file` has one there.
    pub fn new(nsqds: &[String], lookupds: &[String], dot: &str) -> Result<Self, Stop> {
        match (nsqds.is_empty(), lookupds.is_empty()) {
            (true, true) => Err(fatal(format_args!(
                "--nsqd-tcp-address or --lookupd-http-address required{dot}"
            ))),
            (false, false) => Err(fatal(
                "use --nsqd-tcp-address or --lookupd-http-address not both",
            )),
            (false, true) => Ok(Self::Nsqds(nsqds.to_vec())),
            (true, false) => Ok(Self::Lookupds(lookupds.to_vec())),
        }
    }

    /// Has a consumer take messages from here.
    ///
    /// # Errors
    /// The first nsqd that cannot be reached, or an address that is none. An nsqlookupd that cannot be reached is
    /// asked again later.
    pub async fn connect(&self, consumer: &Consumer) -> Result<(), Stop> {
        match self {
            Self::Nsqds(addresses) => {
                for address in addresses {
                    consumer.connect_to_nsqd(address).await.map_err(fatal)?;
                }
            }
            Self::Lookupds(addresses) => {
                for address in addresses {
                    consumer
                        .connect_to_nsqlookupd(address)
                        .await
                        .map_err(fatal)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_kind_is_taken() {
        let some = ["a:1".to_owned()];
        let text = |stop| match stop {
            Stop::Plain(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(Sources::new(&[], &[], ".").unwrap_err()),
            "--nsqd-tcp-address or --lookupd-http-address required."
        );
        assert_eq!(
            text(Sources::new(&some, &some, "").unwrap_err()),
            "use --nsqd-tcp-address or --lookupd-http-address not both"
        );
        assert_eq!(
            Sources::new(&some, &[], ""),
            Ok(Sources::Nsqds(some.to_vec()))
        );
        assert_eq!(
            Sources::new(&[], &some, ""),
            Ok(Sources::Lookupds(some.to_vec()))
        );
    }
}
