//! What an operator does with the programs other than running them: reading their options, changing them at run time, and
//! having a service manager watch them.

mod config;
mod drain;
mod file_system;
mod free_segments;
mod limits;
mod permissions;
mod reference;
mod reliability;
mod reload;
mod start_failures;
mod supervised;
