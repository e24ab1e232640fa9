//! The utilities as processes, between daemons, files and HTTP servers.

mod archive;
mod archive_full_disk;
mod archive_kills;
mod discovery;
mod endpoint;
mod layers;
mod lines;
mod messages;
mod nsq_stat;
mod nsq_to_file;
mod nsq_to_http;
mod nsq_to_http_limits;
mod nsq_to_http_modes;
mod nsq_to_nsq;
mod refusals;
mod signals;
mod terminal;
#[path = "../../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;
