//! NSQ's wire formats: bytes to values and back, for both ends of a connection.
//!
//! Everything here is a function of its arguments. No socket, no clock and no runtime: callers bring
//! the bytes that arrived and carry away the bytes to send.
//!
//! | to do | see |
//! |---|---|
//! | write frames (nsqd) | [`frame`] |
//! | write commands (clients) | [`encode`] |
//! | read frames (clients) | [`decode_frame`] |

pub mod encode;
pub mod error;
pub mod frame;
mod message_id;
mod name;
mod quote;

pub use error::{CommandError, CommandName, FailureReason};
pub use frame::{DecodeError, Frame, FrameType, MessageFrame, decode_frame};
pub use message_id::{MessageId, RawMessageId};
pub use name::{ChannelName, InvalidName, TopicName, is_valid_name};
pub use quote::go_quote;

/// What a client sends before its first command to speak the protocol of this crate.
pub const MAGIC_V2: [u8; 4] = *b"  V2";
