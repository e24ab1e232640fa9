//! The pages that browsers show: HTML made here, readable without a script; `assets/nsqadmin.js` makes it live.
//!
//! ```text
//! GET  → Overview (or Channel, Node) → page: Page → layout → Reply
//! POST → form → action → Cluster → notice → 303 to the page, which shows it
//! ```
//!
//! Everything that nodes, clients and messages say is escaped by maud; names in links are percent-encoded; the
//! policy header forbids whatever is inline or from elsewhere. Paths are upstream's.

mod actions;
mod assets;
mod channel;
mod chart;
mod clients;
mod confirm;
mod consumers;
mod context;
mod counter;
mod diagnosis;
mod errors;
mod flow;
mod form;
mod format;
mod happened;
mod jump;
mod layout;
mod links;
mod login;
mod lookup;
mod lost;
mod node;
mod nodes;
mod notice;
pub(crate) mod peek;
mod publishers;
mod replication;
mod routes;
mod state;
mod table;
mod topic;
mod topics;
mod widgets;

#[cfg(test)]
mod tests;

pub(crate) use self::errors::unknown;
pub use self::notice::Notices;
pub(crate) use self::routes::add_routes;
