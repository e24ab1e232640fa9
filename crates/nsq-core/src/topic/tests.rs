//! A topic and its channels together.

mod fan_out;
mod model;
mod threads;
