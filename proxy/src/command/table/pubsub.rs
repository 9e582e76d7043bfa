//! Rows of publish and subscribe.
//!
//! Channels are placed like keys: PUBLISH goes to one node. A client that subscribes hears all nodes, because scripts and
//! the nodes themselves publish where they are; shard channels are heard where they live.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::CHANNEL;
use super::super::route::Join;
use super::super::route::Route::{Publish, Subscribe, Unsubscribe};
use super::super::route::SubscriptionKind::{Channel, Pattern, Shard};
use super::super::row::{Command, Group, Keys};

const ROW: Family = Family::new(Group::PubSub, Categories::EMPTY);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.keyed("psubscribe", -2, Keys::None, "2.0.0", "Listens to channels that match patterns")
        .pubsub()
        .session()
        .route(Subscribe(Pattern)),
    ROW.keyed("publish", 3, Keys::None, "2.0.0", "Sends a message to a channel")
        .pubsub()
        .anytime()
        .fast()
        .route(Publish(Channel)),
    ROW.container("pubsub", "2.8.0", "Commands about channels", PUBSUB),
    ROW.keyed("punsubscribe", -1, Keys::None, "2.0.0", "Stops listening to patterns")
        .pubsub()
        .session()
        .route(Unsubscribe(Pattern)),
    ROW.keyed("spublish", 3, Keys::Channels { first: 1, last: 1 }, "7.0.0", "Sends to a shard channel")
        .pubsub()
        .anytime()
        .fast()
        .uses(CHANNEL)
        .route(Publish(Shard)),
    ROW.keyed("ssubscribe", -2, Keys::Channels { first: 1, last: -1 }, "7.0.0", "Listens to shard channels")
        .pubsub()
        .session()
        .uses(CHANNEL)
        .route(Subscribe(Shard)),
    ROW.keyed("subscribe", -2, Keys::None, "2.0.0", "Listens to channels")
        .pubsub()
        .session()
        .route(Subscribe(Channel)),
    ROW.keyed("sunsubscribe", -1, Keys::Channels { first: 1, last: -1 }, "7.0.0", "Leaves shard channels")
        .pubsub()
        .session()
        .uses(CHANNEL)
        .route(Unsubscribe(Shard)),
    ROW.keyed("unsubscribe", -1, Keys::None, "2.0.0", "Stops listening to channels")
        .pubsub()
        .session()
        .route(Unsubscribe(Channel)),
];

const PUBSUB: &[Command] = &[
    ROW.everywhere("pubsub|channels", -2, Join::Union, "2.8.0", "Channels that have listeners")
        .pubsub()
        .anytime(),
    ROW.help("pubsub|help", "6.2.0"),
    ROW.everywhere("pubsub|numpat", 2, Join::Patterns, "2.8.0", "Number of patterns listened to")
        .pubsub()
        .anytime(),
    ROW.everywhere("pubsub|numsub", -2, Join::Listeners(Channel), "2.8.0", "Listeners per channel")
        .pubsub()
        .anytime(),
    ROW.everywhere("pubsub|shardchannels", -2, Join::Union, "7.0.0", "Shard channels listened to")
        .pubsub()
        .anytime(),
    ROW.everywhere("pubsub|shardnumsub", -2, Join::Listeners(Shard), "7.0.0", "Listeners per shard channel")
        .pubsub()
        .anytime(),
];
