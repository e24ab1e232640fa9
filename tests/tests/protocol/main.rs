//! The TCP protocol of a running nsqd: bytes in, bytes out.

mod buffering;
mod delivery;
mod errors;
mod framing;
mod heartbeats;
mod identify;
mod in_flight;
mod log_lines;
mod publish_errors;
mod topics;
mod topology;
