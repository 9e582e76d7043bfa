//! What publish and subscribe is, apart from clients and connections.
//!
//! ```text
//!   client/subscriptions: commands ─► client/hub: who listens, per worker ─► upstream/listener: one per node
//!                                          └──────► Registry: how many listen, over all workers ◄── PUBLISH's reply
//! ```
//! A [`Topic`] is what a worker listens to, [`crate::glob`] is how patterns match. Nothing here does IO.

mod beginnings;
mod registry;
mod topic;

pub(crate) use beginnings::{Awaited, Beginning, Beginnings};
pub(crate) use registry::Registry;
pub(crate) use topic::Topic;
