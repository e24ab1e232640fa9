//! Fuzz bodies of nsq-cluster.

mod directory;
mod nodes;

pub use directory::directory;
pub use nodes::{connection, nodes};
