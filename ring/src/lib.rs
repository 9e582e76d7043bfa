//! An immutable consistent-hashing ring: which node owns a key, and exactly what moves when the nodes change.
//!
//! The idea is that of Karger et al., "Consistent Hashing and Random Trees" (STOC 1997): every node stands at many
//! pseudo-random points of a circle, a key belongs to the first point at or after its hash, and a change of nodes
//! moves only the keys next to the points that came or went.
//!
//! ```text
//!   0 ──────●────●──────────●───●───────────●──── 2^64, then on to 0
//!           a    c          b   a           c
//!                  ^ hash(key): owned by b
//! ```
//!
//! - [`Ring::build`] makes a ring from a [`RingConfig`] and [`Member`]s; [`Ring::owner`] answers in a time that does
//!   not depend on the number of members.
//! - [`diff`] compares two rings and says which share of the hash space goes from whom to whom.
//! - [`best_seed`] finds a seed that balances a new cluster well.
//! - [`Placement`] chooses the default or a placement that is bit for bit that of twemproxy or Envoy.
//!
//! ```
//! use ringway_ring::{Member, Ring, RingConfig, diff};
//!
//! let config = RingConfig::default();
//! let three = [Member::new("cache-1", 1), Member::new("cache-2", 1), Member::new("cache-3", 1)];
//! let ring = Ring::build(&config, &three)?;
//! assert_eq!(ring.owner(b"{user:7}:cart"), ring.owner(b"{user:7}:profile"));
//!
//! let four = [&three[..], &[Member::new("cache-4", 1)]].concat();
//! let change = diff(&ring, &Ring::build(&config, &four)?);
//! assert!(change.exact && change.flows.iter().all(|flow| flow.to == "cache-4"));
//! # Ok::<(), ringway_ring::RingError>(())
//! ```
//!
//! The crate is `no_std` (it needs `alloc`), contains no unsafe code, does no input or output and has no clock.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod diff;
mod error;
mod fingerprint;
mod hash;
mod placement;
mod points;
mod ring;
mod seed;
mod share;
mod successors;
mod tag;

pub use config::{MAX_MEMBERS, MAX_POINTS, MAX_WEIGHT, Member, Placement, RingConfig};
pub use diff::{Diff, Flow, diff};
pub use error::RingError;
pub use hash::KeyHash;
pub use ring::Ring;
pub use seed::best_seed;
pub use share::Arc;
pub use successors::Successors;
pub use tag::HashTag;

/// The README's example, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
