//! Rows about a server as a whole.
//!
//! A few have a meaning for the proxy itself or name a key; the others are for a node's operator, who asks the node.

use super::super::bits::{Categories, Flags};
use super::super::build::Family;
use super::super::build::uses::{KEY, LOOK, REPLACE, SUBKEY};
use super::super::route::{Join, Local};
use super::super::row::{Command, Group};
use super::rules;

const ROW: Family = Family::new(Group::Server, Categories::EMPTY);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.container("acl", "6.0.0", "Commands about users and their rights", ACL),
    ROW.refused("bgrewriteaof", 1, rules::ONE_SERVER, "1.0.0", "Rewrites the append-only file")
        .admin()
        .noscript()
        .no_async_loading(),
    ROW.refused("bgsave", -1, rules::ONE_SERVER, "1.0.0", "Saves to disk in the background")
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
    ROW.local("info", -1, Local::Info, "1.0.0", "State and statistics").anytime().also(Categories::DANGEROUS),
    ROW.refused("lastsave", 1, rules::ONE_SERVER, "1.0.0", "Time of the last save to disk")
        .anytime()
        .fast()
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    ROW.container("latency", "2.8.13", "Commands about slow events", LATENCY),
    ROW.refused("lolwut", -1, rules::ONE_SERVER, "5.0.0", "Draws a picture and names the version")
        .reads()
        .fast(),
    ROW.container("memory", "4.0.0", "Commands about memory", MEMORY),
    ROW.container("module", "4.0.0", "Commands about modules", MODULE),
    ROW.refused("monitor", 1, rules::MONITOR, "1.0.0", "Shows every command as it arrives").admin().session(),
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
    ROW.refused("role", 1, rules::REPLICATION, "2.8.12", "Role of a server in replication")
        .session()
        .fast()
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    ROW.refused("save", 1, rules::ONE_SERVER, "1.0.0", "Saves to disk and waits")
        .admin()
        .noscript()
        .no_async_loading()
        .flag(Flags::NO_MULTI),
    ROW.refused("shutdown", -1, rules::ONE_SERVER, "1.0.0", "Stops a server")
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
    ROW.refused("swapdb", 3, rules::ONE_DATABASE, "4.0.0", "Exchanges two databases")
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
    ROW.refused("acl|cat", -2, rules::USERS, "6.0.0", "Categories, or the commands of one").session(),
    ROW.refused("acl|deluser", -3, rules::USERS, "6.0.0", "Deletes users").admin().session(),
    ROW.refused("acl|dryrun", -4, rules::USERS, "7.0.0", "Whether a user may run a command")
        .admin()
        .session(),
    ROW.refused("acl|genpass", -2, rules::USERS, "6.0.0", "A random password").session(),
    ROW.refused("acl|getuser", 3, rules::USERS, "6.0.0", "Rights of a user").admin().session(),
    ROW.refused("acl|help", 2, rules::USERS, "6.0.0", "Lists the subcommands").anytime(),
    ROW.refused("acl|list", 2, rules::USERS, "6.0.0", "All users as rules").admin().session(),
    ROW.refused("acl|load", 2, rules::USERS, "6.0.0", "Reads the users from their file").admin().session(),
    ROW.refused("acl|log", -2, rules::USERS, "6.0.0", "Recent refusals").admin().session(),
    ROW.refused("acl|save", 2, rules::USERS, "6.0.0", "Writes the users to their file").admin().session(),
    ROW.refused("acl|setuser", -3, rules::USERS, "6.0.0", "Creates or changes a user").admin().session(),
    ROW.refused("acl|users", 2, rules::USERS, "6.0.0", "Names of all users").admin().session(),
    ROW.refused("acl|whoami", 2, rules::USERS, "6.0.0", "User of this connection").session(),
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
    ROW.refused("config|get", -3, rules::ONE_SERVER, "2.0.0", "Values of settings").admin().session(),
    ROW.refused("config|help", 2, rules::ONE_SERVER, "5.0.0", "Lists the subcommands").anytime(),
    ROW.refused("config|resetstat", 2, rules::ONE_SERVER, "2.0.0", "Sets the statistics to zero")
        .admin()
        .session(),
    ROW.refused("config|rewrite", 2, rules::ONE_SERVER, "2.8.0", "Writes the settings to their file")
        .admin()
        .session(),
    ROW.refused("config|set", -4, rules::ONE_SERVER, "2.0.0", "Changes settings").admin().session(),
];

const LATENCY: &[Command] = &[
    ROW.refused("latency|doctor", 2, rules::ONE_SERVER, "2.8.13", "Advice about slow events")
        .admin()
        .session(),
    ROW.refused("latency|graph", 3, rules::ONE_SERVER, "2.8.13", "Slow events drawn in text")
        .admin()
        .session(),
    ROW.refused("latency|help", 2, rules::ONE_SERVER, "2.8.13", "Lists the subcommands").anytime(),
    ROW.refused("latency|histogram", -2, rules::ONE_SERVER, "7.0.0", "Distribution of times per command")
        .admin()
        .session(),
    ROW.refused("latency|history", 3, rules::ONE_SERVER, "2.8.13", "Past measurements of an event")
        .admin()
        .session(),
    ROW.refused("latency|latest", 2, rules::ONE_SERVER, "2.8.13", "Last measurement of every event")
        .admin()
        .session(),
    ROW.refused("latency|reset", -2, rules::ONE_SERVER, "2.8.13", "Forgets measurements").admin().session(),
];

const MEMORY: &[Command] = &[
    ROW.refused("memory|doctor", 2, rules::ONE_SERVER, "4.0.0", "Advice about memory"),
    ROW.help("memory|help", "4.0.0"),
    ROW.refused("memory|malloc-stats", 2, rules::ONE_SERVER, "4.0.0", "Statistics of the allocator"),
    ROW.refused("memory|purge", 2, rules::ONE_SERVER, "4.0.0", "Gives unused memory back"),
    ROW.refused("memory|stats", 2, rules::ONE_SERVER, "4.0.0", "Where memory goes"),
    ROW.read("memory|usage", -3, SUBKEY, "4.0.0", "Bytes a key takes up").uses(LOOK),
];

const MODULE: &[Command] = &[
    ROW.refused("module|help", 2, rules::ONE_SERVER, "5.0.0", "Lists the subcommands").anytime(),
    ROW.refused("module|list", 2, rules::ONE_SERVER, "4.0.0", "Loaded modules").admin().noscript(),
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
    ROW.refused("slowlog|get", -2, rules::ONE_SERVER, "2.2.12", "Entries of the slow log").admin().anytime(),
    ROW.refused("slowlog|help", 2, rules::ONE_SERVER, "6.2.0", "Lists the subcommands").anytime(),
    ROW.refused("slowlog|len", 2, rules::ONE_SERVER, "2.2.12", "Number of entries in the slow log")
        .admin()
        .anytime(),
    ROW.refused("slowlog|reset", 2, rules::ONE_SERVER, "2.2.12", "Empties the slow log").admin().anytime(),
];
