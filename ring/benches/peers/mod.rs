//! This ring and others behind one trait, each made and asked as its documentation shows.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use pingora_ketama::{Bucket, Continuum};
use ringway_ring::Ring;

/// A ring that is asked for the number of a node.
pub(crate) trait Lookup {
    fn owner(&self, key: &[u8]) -> usize;
}

impl Lookup for Ring {
    fn owner(&self, key: &[u8]) -> usize {
        self.owner(key)
    }
}

/// The ring as the proxy reads it: behind a cached guard, so that it can be swapped while it is read.
pub(crate) struct Guarded(RefCell<Cache<Arc<ArcSwap<Ring>>, Arc<Ring>>>);

impl Guarded {
    pub(crate) fn new(ring: Ring) -> Self {
        Self(RefCell::new(Cache::new(Arc::new(ArcSwap::from_pointee(ring)))))
    }
}

impl Lookup for Guarded {
    fn owner(&self, key: &[u8]) -> usize {
        self.0.borrow_mut().load().owner(key)
    }
}

impl Lookup for Continuum {
    fn owner(&self, key: &[u8]) -> usize {
        self.node(key).expect("a node").port().into()
    }
}

/// A virtual node, for rings that have none of their own.
#[derive(Clone, Hash, PartialEq, Eq)]
pub(crate) struct Point {
    node: usize,
    number: u32,
}

impl Lookup for hashring::HashRing<Point> {
    fn owner(&self, key: &[u8]) -> usize {
        self.get(&key).expect("a node").node
    }
}

impl Lookup for consistent_hash_ring::Ring<usize> {
    fn owner(&self, key: &[u8]) -> usize {
        *self.get(key)
    }
}

pub(crate) fn pingora(nodes: usize, weight: u32) -> Continuum {
    let address = |node| SocketAddr::from((Ipv4Addr::LOCALHOST, 1 + node as u16));
    let buckets: Vec<Bucket> = (0..nodes).map(|node| Bucket::new(address(node), weight)).collect();
    Continuum::new(&buckets)
}

pub(crate) fn hashring(nodes: usize, points: u32) -> hashring::HashRing<Point> {
    let mut ring = hashring::HashRing::new();
    let all = (0..nodes).flat_map(|node| (0..points).map(move |number| Point { node, number }));
    ring.batch_add(all.collect());
    ring
}

pub(crate) fn consistent_hash_ring(nodes: usize, points: usize) -> consistent_hash_ring::Ring<usize> {
    consistent_hash_ring::RingBuilder::default().vnodes(points).nodes_iter(0..nodes).build()
}
