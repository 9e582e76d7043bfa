//! Rows about the client's own connection, answered by the proxy or refused.
//!
//! Upstream connections are shared, so nothing here is ever passed on to a node.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::route::Local;
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::Connection, Categories::CONNECTION);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.local("auth", -2, Local::Auth, "1.0.0", "Presents a password")
        .session()
        .fast()
        .allow_busy()
        .flag(Flags::NO_AUTH),
    ROW.container("client", "2.4.0", "Commands about client connections", CLIENT),
    ROW.local("echo", 2, Local::Echo, "1.0.0", "Answers with its argument").anytime().fast(),
    ROW.local("hello", -1, Local::Hello, "6.0.0", "Chooses the protocol, authenticates, names")
        .session()
        .fast()
        .allow_busy()
        .flag(Flags::NO_AUTH),
    ROW.local("ping", -1, Local::Ping, "1.0.0", "Answers PONG or its argument").fast(),
    ROW.local("quit", -1, Local::Quit, "1.0.0", "Closes the connection")
        .session()
        .fast()
        .allow_busy()
        .flag(Flags::NO_AUTH),
    ROW.local("reset", 1, Local::Reset, "6.2.0", "Brings the connection back to how it began")
        .session()
        .fast()
        .allow_busy()
        .flag(Flags::NO_AUTH),
    ROW.local("select", 2, Local::Select, "1.0.0", "Chooses the database").anytime().fast(),
];

const CLIENT: &[Command] = &[
    ROW.refused("client|caching", 3, rules::CONNECTION, "6.0.0", "Whether the next command is tracked")
        .session(),
    ROW.local("client|getname", 2, Local::ClientGetName, "2.6.9", "Name of this connection").session(),
    ROW.refused("client|getredir", 2, rules::CONNECTION, "6.0.0", "Where invalidations are sent").session(),
    ROW.help("client|help", "5.0.0"),
    ROW.local("client|id", 2, Local::ClientId, "5.0.0", "Number of this connection").session(),
    ROW.local("client|info", 2, Local::ClientInfo, "6.2.0", "About this connection").session(),
    ROW.refused("client|kill", -3, rules::CONNECTION, "2.4.0", "Closes connections").admin().session(),
    ROW.refused("client|list", -2, rules::CONNECTION, "2.4.0", "All connections").admin().session(),
    ROW.refused("client|no-evict", 3, rules::CONNECTION, "7.0.0", "Keeps the connection from eviction")
        .admin()
        .session(),
    ROW.refused("client|pause", -3, rules::CONNECTION, "2.9.50", "Holds back all clients").admin().session(),
    ROW.refused("client|reply", 3, rules::CONNECTION, "3.2.0", "Switches replies off and on").session(),
    ROW.local("client|setname", 3, Local::ClientSetName, "2.6.9", "Names this connection").session(),
    ROW.refused("client|tracking", -3, rules::CONNECTION, "6.0.0", "Switches invalidation messages")
        .session(),
    ROW.refused("client|trackinginfo", 2, rules::CONNECTION, "6.2.0", "State of the tracking").session(),
    ROW.local("client|unblock", -3, Local::ClientUnblock, "5.0.0", "Wakes a client that waits")
        .admin()
        .session(),
    ROW.refused("client|unpause", 2, rules::CONNECTION, "6.2.0", "Ends CLIENT PAUSE").admin().session(),
    ROW.local("client|setinfo", 4, Local::ClientSetInfo, "7.2.0", "Names the client library").session(),
    ROW.refused("client|no-touch", 3, rules::CONNECTION, "7.2.0", "Keeps commands from marking keys as used")
        .session(),
];
