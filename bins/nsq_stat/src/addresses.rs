//! Whom to ask: nsqds, or nsqlookupds that know them.

use nsq_daemon::stop::Stop;
use nsq_tools::fatal;

/// Exactly one kind of address, each `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addresses {
    Nsqds(Vec<String>),
    Lookupds(Vec<String>),
}

impl Addresses {
    /// From the two flags.
    pub(crate) fn new(nsqds: &[String], lookupds: &[String]) -> Result<Self, Stop> {
        let addresses = match (nsqds.is_empty(), lookupds.is_empty()) {
            (true, true) => {
                return Err(fatal(
                    "--nsqd-http-address or --lookupd-http-address required",
                ));
            }
            (false, false) => {
                return Err(fatal(
                    "use --nsqd-http-address or --lookupd-http-address not both",
                ));
            }
            (false, true) => Self::Nsqds(nsqds.to_vec()),
            (true, false) => Self::Lookupds(lookupds.to_vec()),
        };
        let (flag, given) = match &addresses {
            Self::Nsqds(given) => ("--nsqd-http-address", given),
            Self::Lookupds(given) => ("--lookupd-http-address", given),
        };
        // Compat: a host whose name begins so cannot be asked (nsq_stat.go, checkAddrs).
        if given.iter().any(|address| address.starts_with("http")) {
            let text = format!("{flag} error - address should not contain scheme");
            return Err(fatal(text));
        }
        Ok(addresses)
    }
}
