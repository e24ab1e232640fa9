//! NSQ's wire formats: bytes to values and back, for both ends of a connection.
//!
//! Everything here is a function of its arguments. No socket, no clock and no runtime: callers bring
//! the bytes that arrived and carry away the bytes to send.
//!
//! | to do | see |
//! |---|---|
//! | read commands (nsqd) | [`Decoder`], [`Command`] |
//! | write frames (nsqd) | [`frame`] |
//! | negotiate features (nsqd) | [`identify`] |
//! | write commands (clients) | [`encode`] |
//! | read frames (clients) | [`decode_frame`] |

mod batch;
mod command;
mod decoder;
pub mod encode;
mod error;
pub mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/protocol.rs"]
pub mod fuzz;
pub mod go_duration;
mod go_json;
pub mod identify;
mod message_id;
mod name;
mod number;
mod quote;

pub use batch::Messages;
pub use command::{ClientState, Command, CommandName};
pub use decoder::{Context, DecodeFailure, Decoder, Limits, MAX_LINE_BYTES};
pub use error::{CommandError, FailureReason};
pub use frame::{DecodeError, Frame, FrameType, MessageFrame, decode_frame};
pub use go_json::escape_go_json;
pub use message_id::{MessageId, RawMessageId};
pub use name::{ChannelName, InvalidName, TopicName, is_valid_name};
pub use quote::go_quote;

/// What a client sends before its first command to speak the protocol of this crate.
pub const MAGIC_V2: [u8; 4] = *b"  V2";
