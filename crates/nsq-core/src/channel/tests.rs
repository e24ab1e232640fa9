//! A channel as its clients see it.

mod bounds;
mod damage;
mod life;
mod resume;
mod sharing;
mod wakes;
