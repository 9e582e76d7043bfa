//! Rows about a server as a whole.
//!
//! What can be told or done of all nodes together goes to all of them; what would disturb every client waits until the
//! operator allows it; the rest is for a node's operator, who asks the node.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::build::uses::{KEY, LOOK, REPLACE, SUBKEY};
use super::super::route::{AclCommand, Join, Local};
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::Server, Categories::EMPTY);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.container("acl", "6.0.0", "Commands about users and their rights", ACL),
    ROW.everywhere("bgrewriteaof", 1, Join::Said, "1.0.0", "Rewrites the append-only file")
        .guarded(rules::ALL_FORK)
        .admin()
        .noscript()
        .no_async_loading(),
    ROW.everywhere("bgsave", -1, Join::Said, "1.0.0", "Saves to disk in the background")
        .guarded(rules::ALL_FORK)
        .admin()
        .noscript()
        .no_async_loading(),
    ROW.local("command", -1, Local::CommandAll, "2.8.13", "Describes all commands")
        .anytime()
        .also(Categories::CONNECTION)
        .below(COMMAND),
    ROW.container("config", "2.0.0", "Commands about a server's settings", CONFIG),
    ROW.everywhere("dbsize", 1, Join::Sum, "1.0.0", "Number of keys")
        .reads()
        .fast()
        .also(Categories::KEYSPACE),
    ROW.refused("debug", -2, rules::DEBUG, "1.0.0", "Tools for the developers of a server").admin().session(),
    ROW.refused("failover", -1, rules::REPLICATION, "6.2.0", "Hands over to a replica")
        .admin()
        .noscript()
        .stale(),
    ROW.everywhere("flushall", -1, Join::Ok, "1.0.0", "Deletes all keys of all databases")
        .guarded(rules::ALL_DATA)
        .writes()
        .also(Categories::DANGEROUS.with(Categories::KEYSPACE)),
    ROW.everywhere("flushdb", -1, Join::Ok, "1.0.0", "Deletes all keys of a database")
        .guarded(rules::ALL_DATA)
        .writes()
        .also(Categories::DANGEROUS.with(Categories::KEYSPACE)),
    ROW.everywhere("info", -1, Join::Info, "1.0.0", "State and statistics")
        .anytime()
        .also(Categories::DANGEROUS),
    ROW.everywhere("lastsave", 1, Join::Least, "1.0.0", "Time since when every node is saved to disk")
        .anytime()
        .fast()
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    ROW.container("latency", "2.8.13", "Commands about slow events", LATENCY),
    ROW.local("lolwut", -1, Local::Lolwut, "5.0.0", "Draws a picture and names the version").reads().fast(),
    ROW.container("memory", "4.0.0", "Commands about memory", MEMORY),
    ROW.container("module", "4.0.0", "Commands about modules", MODULE),
    ROW.local("monitor", 1, Local::Monitor, "1.0.0", "Shows every command as it arrives")
        .admin()
        .session()
        .guarded(rules::MONITOR),
    ROW.refused("psync", -3, rules::REPLICATION, "2.8.0", "Starts or resumes replication")
        .admin()
        .noscript()
        .no_async_loading()
        .flag(Flags::NO_MULTI),
    ROW.refused("replconf", -1, rules::REPLICATION, "3.0.0", "Settings between a replica and its primary")
        .admin()
        .session()
        .allow_busy(),
    ROW.refused("replicaof", 3, rules::REPLICATION, "5.0.0", "Makes a server a replica")
        .admin()
        .noscript()
        .no_async_loading()
        .stale(),
    ROW.write("restore-asking", -4, KEY, "3.0.0", "RESTORE while a slot moves")
        .denyoom()
        .flag(Flags::ASKING)
        .uses(REPLACE)
        .also(Categories::DANGEROUS.with(Categories::KEYSPACE))
        .refused_by(rules::CLUSTER),
    ROW.local("role", 1, Local::Role, "2.8.12", "Role in replication: a primary without replicas")
        .session()
        .fast()
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    ROW.everywhere("save", 1, Join::Ok, "1.0.0", "Saves to disk and waits")
        .guarded(rules::ALL_STOP)
        .admin()
        .noscript()
        .no_async_loading()
        .flag(Flags::NO_MULTI),
    ROW.refused("shutdown", -1, rules::STOP, "1.0.0", "Stops a server")
        .admin()
        .session()
        .allow_busy()
        .flag(Flags::NO_MULTI),
    ROW.refused("slaveof", 3, rules::REPLICATION, "1.0.0", "Older name of REPLICAOF")
        .admin()
        .noscript()
        .no_async_loading()
        .stale(),
    ROW.container("slowlog", "2.2.12", "Commands about the log of slow commands", SLOWLOG),
    ROW.everywhere("swapdb", 3, Join::Ok, "4.0.0", "Exchanges two databases")
        .guarded(rules::TWO_DATABASES)
        .writes()
        .fast()
        .also(Categories::DANGEROUS.with(Categories::KEYSPACE)),
    ROW.refused("sync", 1, rules::REPLICATION, "1.0.0", "Starts replication")
        .admin()
        .noscript()
        .no_async_loading()
        .flag(Flags::NO_MULTI),
    ROW.local("time", 1, Local::Time, "2.6.0", "Unix time in seconds and microseconds").anytime().fast(),
];

const ACL: &[Command] = &[
    ROW.acl("acl|cat", -2, AclCommand::Cat, "6.0.0", "Categories, or the commands of one").session(),
    ROW.acl("acl|deluser", -3, AclCommand::DelUser, "6.0.0", "Deletes users")
        .guarded(rules::USERS)
        .admin()
        .session(),
    ROW.acl("acl|dryrun", -4, AclCommand::DryRun, "7.0.0", "Whether a user may run a command")
        .admin()
        .session(),
    ROW.acl("acl|genpass", -2, AclCommand::GenPass, "6.0.0", "A random password").session(),
    ROW.acl("acl|getuser", 3, AclCommand::GetUser, "6.0.0", "Rights of a user").admin().session(),
    ROW.help("acl|help", "6.0.0"),
    ROW.acl("acl|list", 2, AclCommand::List, "6.0.0", "All users as rules").admin().session(),
    ROW.acl("acl|load", 2, AclCommand::Load, "6.0.0", "Reads the users from their file").admin().session(),
    ROW.acl("acl|log", -2, AclCommand::Log, "6.0.0", "Recent refusals").admin().session(),
    ROW.acl("acl|save", 2, AclCommand::Save, "6.0.0", "Writes the users to their file")
        .guarded(rules::USERS_FILE)
        .admin()
        .session(),
    ROW.acl("acl|setuser", -3, AclCommand::SetUser, "6.0.0", "Creates or changes a user")
        .guarded(rules::USERS)
        .admin()
        .session(),
    ROW.acl("acl|users", 2, AclCommand::Users, "6.0.0", "Names of all users").admin().session(),
    ROW.acl("acl|whoami", 2, AclCommand::WhoAmI, "6.0.0", "User of this connection").session(),
];

const COMMAND: &[Command] = &[
    ROW.local("command|count", 2, Local::CommandCount, "2.8.13", "Number of commands")
        .anytime()
        .also(Categories::CONNECTION),
    ROW.local("command|docs", -2, Local::CommandDocs, "7.0.0", "Summary, group and version of commands")
        .anytime()
        .also(Categories::CONNECTION),
    ROW.local("command|getkeys", -4, Local::CommandGetKeys, "2.8.13", "Keys of a whole command")
        .anytime()
        .also(Categories::CONNECTION),
    ROW.local("command|getkeysandflags", -4, Local::CommandGetKeysAndFlags, "7.0.0", "Keys and their use")
        .anytime()
        .also(Categories::CONNECTION),
    ROW.help("command|help", "5.0.0").also(Categories::CONNECTION),
    ROW.local("command|info", -2, Local::CommandInfo, "2.8.13", "Arity, flags and key positions of commands")
        .anytime()
        .also(Categories::CONNECTION),
    ROW.local("command|list", -2, Local::CommandList, "7.0.0", "Names of commands")
        .anytime()
        .also(Categories::CONNECTION),
];

const CONFIG: &[Command] = &[
    ROW.everywhere("config|get", -3, Join::Settings, "2.0.0", "Values of settings").admin().session(),
    ROW.help("config|help", "5.0.0"),
    ROW.everywhere("config|resetstat", 2, Join::Ok, "2.0.0", "Sets the statistics to zero")
        .guarded(rules::ALL_SETTINGS)
        .admin()
        .session(),
    ROW.everywhere("config|rewrite", 2, Join::Ok, "2.8.0", "Writes the settings to their file")
        .guarded(rules::ALL_SETTINGS)
        .admin()
        .session(),
    ROW.everywhere("config|set", -4, Join::Ok, "2.0.0", "Changes settings")
        .guarded(rules::ALL_SETTINGS)
        .admin()
        .session(),
];

const LATENCY: &[Command] = &[
    ROW.everywhere("latency|doctor", 2, Join::Texts, "2.8.13", "Advice about slow events").admin().session(),
    ROW.refused("latency|graph", 3, rules::GRAPH, "2.8.13", "Slow events drawn in text").admin().session(),
    ROW.help("latency|help", "2.8.13"),
    ROW.everywhere("latency|histogram", -2, Join::Histogram, "7.0.0", "Distribution of times per command")
        .admin()
        .session(),
    ROW.everywhere("latency|history", 3, Join::History, "2.8.13", "Past measurements of an event")
        .admin()
        .session(),
    ROW.everywhere("latency|latest", 2, Join::Latest, "2.8.13", "Last measurement of every event")
        .admin()
        .session(),
    ROW.everywhere("latency|reset", -2, Join::Sum, "2.8.13", "Forgets measurements").admin().session(),
];

const MEMORY: &[Command] = &[
    ROW.everywhere("memory|doctor", 2, Join::Texts, "4.0.0", "Advice about memory"),
    ROW.help("memory|help", "4.0.0"),
    ROW.everywhere("memory|malloc-stats", 2, Join::Texts, "4.0.0", "Statistics of the allocator"),
    ROW.everywhere("memory|purge", 2, Join::Ok, "4.0.0", "Gives unused memory back"),
    ROW.everywhere("memory|stats", 2, Join::Memory, "4.0.0", "Where memory goes"),
    ROW.read("memory|usage", -3, SUBKEY, "4.0.0", "Bytes a key takes up").uses(LOOK),
];

const MODULE: &[Command] = &[
    ROW.help("module|help", "5.0.0"),
    ROW.everywhere("module|list", 2, Join::Alike, "4.0.0", "Loaded modules").admin().noscript(),
    ROW.refused("module|load", -3, rules::ONE_SERVER, "4.0.0", "Loads a module")
        .admin()
        .noscript()
        .no_async_loading(),
    ROW.refused("module|loadex", -3, rules::ONE_SERVER, "7.0.0", "Loads a module with settings")
        .admin()
        .noscript()
        .no_async_loading(),
    ROW.refused("module|unload", 3, rules::ONE_SERVER, "4.0.0", "Unloads a module")
        .admin()
        .noscript()
        .no_async_loading(),
];

const SLOWLOG: &[Command] = &[
    ROW.everywhere("slowlog|get", -2, Join::SlowLog, "2.2.12", "Entries of the slow log").admin().anytime(),
    ROW.help("slowlog|help", "6.2.0"),
    ROW.everywhere("slowlog|len", 2, Join::Sum, "2.2.12", "Number of entries in the slow log")
        .admin()
        .anytime(),
    ROW.everywhere("slowlog|reset", 2, Join::Ok, "2.2.12", "Empties the slow log").admin().anytime(),
];
