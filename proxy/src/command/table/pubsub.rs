//! Rows of publish and subscribe.
//!
//! Shard channels are placed like keys, which the rows already say; all are refused for now.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::CHANNEL;
use super::super::row::{Command, Group, Keys};
use super::rules;

const ROW: Family = Family::new(Group::PubSub, Categories::EMPTY);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.refused("psubscribe", -2, rules::PUBSUB, "2.0.0", "Listens to channels that match patterns")
        .pubsub()
        .session(),
    ROW.refused("publish", 3, rules::PUBSUB, "2.0.0", "Sends a message to a channel")
        .pubsub()
        .anytime()
        .fast(),
    ROW.container("pubsub", "2.8.0", "Commands about channels", PUBSUB),
    ROW.refused("punsubscribe", -1, rules::PUBSUB, "2.0.0", "Stops listening to patterns").pubsub().session(),
    ROW.keyed("spublish", 3, Keys::Channels { first: 1, last: 1 }, "7.0.0", "Sends to a shard channel")
        .pubsub()
        .anytime()
        .fast()
        .uses(CHANNEL)
        .refused_by(rules::PUBSUB),
    ROW.keyed("ssubscribe", -2, Keys::Channels { first: 1, last: -1 }, "7.0.0", "Listens to shard channels")
        .pubsub()
        .session()
        .uses(CHANNEL)
        .refused_by(rules::PUBSUB),
    ROW.refused("subscribe", -2, rules::PUBSUB, "2.0.0", "Listens to channels").pubsub().session(),
    ROW.keyed("sunsubscribe", -1, Keys::Channels { first: 1, last: -1 }, "7.0.0", "Leaves shard channels")
        .pubsub()
        .session()
        .uses(CHANNEL)
        .refused_by(rules::PUBSUB),
    ROW.refused("unsubscribe", -1, rules::PUBSUB, "2.0.0", "Stops listening to channels").pubsub().session(),
];

const PUBSUB: &[Command] = &[
    ROW.refused("pubsub|channels", -2, rules::PUBSUB, "2.8.0", "Channels that have listeners")
        .pubsub()
        .anytime(),
    ROW.refused("pubsub|help", 2, rules::PUBSUB, "6.2.0", "Lists the subcommands").anytime(),
    ROW.refused("pubsub|numpat", 2, rules::PUBSUB, "2.8.0", "Number of patterns listened to")
        .pubsub()
        .anytime(),
    ROW.refused("pubsub|numsub", -2, rules::PUBSUB, "2.8.0", "Listeners per channel").pubsub().anytime(),
    ROW.refused("pubsub|shardchannels", -2, rules::PUBSUB, "7.0.0", "Shard channels listened to")
        .pubsub()
        .anytime(),
    ROW.refused("pubsub|shardnumsub", -2, rules::PUBSUB, "7.0.0", "Listeners per shard channel")
        .pubsub()
        .anytime(),
];
