//! What an operator does with the programs beside running them: reading their options, changing them while they run, and
//! having a service manager watch them.

mod config;
mod drain;
mod reference;
mod reliability;
mod reload;
mod start_failures;
mod supervised;
