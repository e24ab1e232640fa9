//! What IDENTIFY can put between nsqd and its clients, and HTTPS.

mod certificates;
mod compression;
mod handshake;
mod https;
mod nsqadmin;
mod policies;
mod reload;
#[path = "../../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;
