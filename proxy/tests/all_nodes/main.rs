//! Commands without keys over all nodes, through a proxy in front of real redis-servers.

#[path = "../command_server/mod.rs"]
mod command_server;

mod allowed;
mod changes;
mod cluster;
mod failures;
mod scan;
mod scripts;
mod sizes;
