//! A topic and its channels together.

mod crash;
mod fan_out;
mod model;
mod safety;
mod threads;
mod transfer;
