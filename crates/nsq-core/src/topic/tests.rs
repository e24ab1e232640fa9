//! A topic and its channels together.

mod crash;
mod fan_out;
mod handover;
mod model;
mod threads;
