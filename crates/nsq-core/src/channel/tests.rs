//! A channel as its clients see it.

mod bounds;
mod damage;
mod life;
mod locality;
mod order;
mod peek;
mod resume;
mod sharing;
mod wakes;
