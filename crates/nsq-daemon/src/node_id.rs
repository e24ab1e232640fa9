//! Who this machine is: its host name, and the node id that follows from it.

use md5::{Digest as _, Md5};

/// The operating system's name for this machine.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The node id of a daemon that was given none: 0 to 1023, from the host name alone, and the same
/// number that upstream computes, so that a daemon replaced on its host keeps its id.
///
/// Source: `NewOptions`, nsq 1.3.0, nsqd/options.go.
pub fn default_node_id(hostname: &str) -> u16 {
    let digest = Md5::digest(hostname.as_bytes());
    let id = crc32fast::hash(&digest) % NODE_IDS;
    u16::try_from(id).expect("a remainder of 1024 fits in 16 bits")
}

const NODE_IDS: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_one_upstream_gives_a_host() {
        // Numbers computed with Go from upstream's formula.
        for (hostname, id) in [
            ("vm", 617),
            ("", 812),
            ("localhost", 16),
            ("nsqd-7.example.com", 539),
        ] {
            assert_eq!(default_node_id(hostname), id, "{hostname}");
        }
    }
}
