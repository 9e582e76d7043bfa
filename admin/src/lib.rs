//! The HTTP control plane of Ringway: the topology is read, planned, changed and undone here, figures are read.
//!
//! Sees the proxy only through [`ringway_proxy::control::Control`] and the figures it hands out. The way of a
//! request, each step calling only the next:
//!
//! ```text
//! server   threads of its own, bounded connections, time limits on header, body and answer
//!   guard  Host, Origin, token and its rights, content type: refused here, no handler runs; `audit` notes changes
//!     routes   read (topology, route, history, stats, health) · change (plan, PUT, nodes, rollback)
//!       wish   JSON body -> edits -> the wished list      precondition   If-Match -> expected epoch
//!       sample  keys the nodes really hold, over `pools` (redis + bb8, never the data path)
//!       movement  keys on their way after a change: how far they are, and their end
//!       strays  keys that lie where they are not looked for: counted, moved, deleted
//!       follow  Ringways that serve by the topology of this one, and this one by another's
//!       report  Change -> movement report, as JSON and as text
//! ```
//!
//! The laws kept here: no secret, key or token in a log or an answer (I11); a change is made by
//! `Control::apply` alone, with the epoch it was planned on (I8); what a client sends bounds nothing but itself
//! (I6, see [`limits`]).

#![forbid(unsafe_code)]

mod audit;
mod base64_param;
mod body;
mod change;
mod commands;
mod error;
pub mod follow;
pub mod form;
mod guard;
mod hot_keys;
#[cfg(test)]
mod http_tests;
pub mod limits;
mod metrics;
mod movement;
mod near_cache;
mod places;
mod pools;
mod precondition;
mod query;
mod read;
pub mod report;
mod routes;
mod sample;
mod server;
mod settings;
mod stats;
mod strays;
mod wish;

pub use server::{Admin, Sockets};
pub use settings::{AdminError, AdminSettings};
