//! Several nsqd that are one cluster: nothing acknowledged is lost, whatever happens to one of them.

mod campaign;
mod consume;
mod crashes;
mod damage;
mod drill;
mod faults;
mod full_disk;
mod maintenance;
mod measure;
mod members;
mod network;
mod producer;
mod recovery;
mod stopped;
mod traffic;
mod upgrade;
mod view;
