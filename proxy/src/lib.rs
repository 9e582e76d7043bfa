//! The data plane of Ringway: clients, commands, the ring and the connections to nodes, on tokio.
//!
//! No HTTP, no files, no argv, no signals. A program starts a [`Proxy`] and steers it through its
//! [`control::Control`]; `ARCHITECTURE.md` has the map.

#![forbid(unsafe_code)]

pub mod acl;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod client;
pub mod command;
pub mod control;
mod error;
mod essential;
mod followers;
pub mod glob;
mod hot_keys;
mod learn;
pub mod limits;
pub mod listen;
mod masters;
mod memory;
mod movement;
mod near;
mod net;
#[cfg(test)]
mod panic_tests;
mod proxy;
pub mod pubsub;
mod reports;
pub mod resp;
mod route;
mod scripts;
mod seldom;
mod sentinels;
pub mod settings;
#[cfg(test)]
mod simulation_tests;
pub mod stats;
pub mod topology;
mod turn;
mod upstream;
mod versions;
mod worker;

pub use proxy::{Drained, Proxy, StartError};
