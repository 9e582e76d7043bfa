//! Rows about the client's own connection, answered by the proxy or refused.
//!
//! Upstream connections are shared, so nothing here is ever passed on to a node.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::route::{ClientCommand, Local};
use super::super::row::{Command, Group};

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
    ROW.client("client|caching", 3, ClientCommand::Caching, "6.0.0", "Whether the next command is tracked")
        .session(),
    ROW.client("client|getname", 2, ClientCommand::GetName, "2.6.9", "Name of this connection").session(),
    ROW.client("client|getredir", 2, ClientCommand::GetRedir, "6.0.0", "Where invalidations are sent")
        .session(),
    ROW.help("client|help", "5.0.0"),
    ROW.client("client|id", 2, ClientCommand::Id, "5.0.0", "Number of this connection").session(),
    ROW.client("client|info", 2, ClientCommand::Info, "6.2.0", "About this connection").session(),
    ROW.client("client|kill", -3, ClientCommand::Kill, "2.4.0", "Closes connections").admin().session(),
    ROW.client("client|list", -2, ClientCommand::List, "2.4.0", "All connections").admin().session(),
    ROW.client("client|no-evict", 3, ClientCommand::NoEvict, "7.0.0", "Keeps the connection from eviction")
        .admin()
        .session(),
    ROW.client("client|pause", -3, ClientCommand::Pause, "2.9.50", "Holds back all clients")
        .admin()
        .session(),
    ROW.client("client|reply", 3, ClientCommand::Reply, "3.2.0", "Switches replies off and on").session(),
    ROW.client("client|setname", 3, ClientCommand::SetName, "2.6.9", "Names this connection").session(),
    ROW.client("client|tracking", -3, ClientCommand::Tracking, "6.0.0", "Switches invalidation messages")
        .session(),
    ROW.client("client|trackinginfo", 2, ClientCommand::TrackingInfo, "6.2.0", "State of the tracking")
        .session(),
    ROW.local("client|unblock", -3, Local::ClientUnblock, "5.0.0", "Wakes a client that waits")
        .admin()
        .session(),
    ROW.client("client|unpause", 2, ClientCommand::Unpause, "6.2.0", "Ends CLIENT PAUSE").admin().session(),
    ROW.client("client|setinfo", 4, ClientCommand::SetInfo, "7.2.0", "Names the client library").session(),
    ROW.client(
        "client|no-touch",
        3,
        ClientCommand::NoTouch,
        "7.2.0",
        "Keeps commands from marking keys as used",
    )
    .session(),
];
