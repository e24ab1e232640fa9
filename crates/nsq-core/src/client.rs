//! A client as the core knows it: a number, and a way to reach it.

/// One TCP connection to nsqd; unique in the process, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u32);

/// How the core reaches the task that serves a client. Both calls only set a flag or the like; neither may block.
pub trait ClientHandle: Send + Sync {
    /// There may be messages for the client, or room where there was none: it should call `take`.
    fn wake(&self);
    /// The client's channel is gone: its connection is to be closed.
    fn close(&self);
}
