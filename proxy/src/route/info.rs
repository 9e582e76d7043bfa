//! The page of INFO: what the proxy says of itself, and what its nodes say, made one.
//!
//! ```text
//!   used_memory:10   on node 0 ┐
//!   used_memory:32   on node 1 ┼─► used_memory:42       each field by its rule in `FIELDS`
//!   (no answer)      by node 2 ┘   ringway_missing_nodes:c
//! ```
//! A field that has no rule is left out: a figure that is missing is better than one that is wrong. The page comes
//! also when nodes are down; every section that is short of them names them.

use std::collections::HashMap;
use std::fmt::Write;

use crate::resp::{Protocol, encode};
use crate::topology::Topology;

use super::pieces;

/// The sections in their order on the page. The first name is as Redis writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    CommandStats,
    ErrorStats,
    LatencyStats,
    Cluster,
    Keyspace,
    Nodes,
}

const SECTIONS: [(Section, &str); 14] = [
    (Section::Server, "Server"),
    (Section::Clients, "Clients"),
    (Section::Memory, "Memory"),
    (Section::Persistence, "Persistence"),
    (Section::Stats, "Stats"),
    (Section::Replication, "Replication"),
    (Section::Cpu, "CPU"),
    (Section::Modules, "Modules"),
    (Section::CommandStats, "Commandstats"),
    (Section::ErrorStats, "Errorstats"),
    (Section::LatencyStats, "Latencystats"),
    (Section::Cluster, "Cluster"),
    (Section::Keyspace, "Keyspace"),
    (Section::Nodes, "Nodes"),
];

/// Which sections a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted(u16);

impl Wanted {
    /// Reads the arguments behind INFO, letters in any case; none of them means the usual sections.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let all = (1 << SECTIONS.len()) - 1;
        let usual = all & !(1 << Section::CommandStats as u16) & !(1 << Section::LatencyStats as u16);
        let (mut wanted, mut named) = (0, false);
        for name in names {
            named = true;
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            wanted |= match SECTIONS.iter().find(|(_, known)| is(known)) {
                Some((section, _)) => 1 << *section as u16,
                None if is("all") || is("everything") => all,
                None if is("default") => usual,
                None => 0,
            };
        }
        Self(if named { wanted } else { usual })
    }

    pub(crate) fn has(self, section: Section) -> bool {
        self.0 & (1 << section as u16) != 0
    }

    /// Whether a node has to be asked for any of it.
    pub(crate) fn asks_nodes(self) -> bool {
        SECTIONS.iter().any(|(section, _)| self.has(*section) && section.is_of_nodes())
    }

    /// The request to nodes; only more than the usual costs them more.
    pub(crate) fn request(self) -> &'static [u8] {
        if self.has(Section::CommandStats) {
            b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n"
        } else {
            b"*1\r\n$4\r\nINFO\r\n"
        }
    }
}

impl Section {
    /// Whether nodes have something to say in it.
    fn is_of_nodes(self) -> bool {
        !matches!(
            self,
            Section::Server
                | Section::Clients
                | Section::Replication
                | Section::LatencyStats
                | Section::Cluster
        )
    }
}

/// How the values of all nodes become one.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Their sum.
    Sum,
    /// Their sum in bytes, and a second line for people.
    Bytes,
    /// Their sum, but 0, which means no limit, if one node has none; and a second line for people.
    Limit,
    /// Their sum with so many digits behind the point.
    Real(usize),
    Most,
    Least,
    /// What all say alike, or nothing.
    Same,
    /// `ok` if all say so, otherwise what one says that does not.
    Health,
    /// One sum divided by another, with so many digits behind the point.
    Ratio(&'static str, &'static str),
}

use Rule::{Bytes, Health, Least, Limit, Most, Ratio, Real, Same, Sum};
use Section::{Cpu, Memory, Persistence, Stats};

/// The fields that stand for all nodes, in the order of Redis.
const FIELDS: &[(Section, &str, Rule)] = &[
    (Memory, "used_memory", Bytes),
    (Memory, "used_memory_rss", Bytes),
    (Memory, "used_memory_overhead", Sum),
    (Memory, "used_memory_startup", Sum),
    (Memory, "used_memory_dataset", Sum),
    (Memory, "allocator_allocated", Sum),
    (Memory, "allocator_active", Sum),
    (Memory, "allocator_resident", Sum),
    (Memory, "used_memory_lua", Bytes),
    (Memory, "used_memory_vm_eval", Sum),
    (Memory, "used_memory_scripts_eval", Sum),
    (Memory, "number_of_cached_scripts", Same),
    (Memory, "number_of_functions", Same),
    (Memory, "number_of_libraries", Same),
    (Memory, "used_memory_vm_functions", Sum),
    (Memory, "used_memory_vm_total", Bytes),
    (Memory, "used_memory_functions", Sum),
    (Memory, "used_memory_scripts", Bytes),
    (Memory, "maxmemory", Limit),
    (Memory, "maxmemory_policy", Same),
    (Memory, "allocator_frag_ratio", Ratio("allocator_active", "allocator_allocated")),
    (Memory, "allocator_frag_bytes", Sum),
    (Memory, "allocator_rss_ratio", Ratio("allocator_resident", "allocator_active")),
    (Memory, "allocator_rss_bytes", Sum),
    (Memory, "rss_overhead_ratio", Ratio("used_memory_rss", "allocator_resident")),
    (Memory, "rss_overhead_bytes", Sum),
    (Memory, "mem_fragmentation_ratio", Ratio("used_memory_rss", "used_memory")),
    (Memory, "mem_fragmentation_bytes", Sum),
    (Memory, "mem_not_counted_for_evict", Sum),
    (Memory, "mem_replication_backlog", Sum),
    (Memory, "mem_total_replication_buffers", Sum),
    (Memory, "mem_clients_slaves", Sum),
    (Memory, "mem_clients_normal", Sum),
    (Memory, "mem_cluster_links", Sum),
    (Memory, "mem_aof_buffer", Sum),
    (Memory, "mem_allocator", Same),
    (Memory, "active_defrag_running", Most),
    (Memory, "lazyfree_pending_objects", Sum),
    (Memory, "lazyfreed_objects", Sum),
    (Persistence, "async_loading", Most),
    (Persistence, "rdb_changes_since_last_save", Sum),
    (Persistence, "rdb_bgsave_in_progress", Most),
    (Persistence, "rdb_last_save_time", Least),
    (Persistence, "rdb_last_bgsave_status", Health),
    (Persistence, "rdb_current_bgsave_time_sec", Most),
    (Persistence, "rdb_saves", Sum),
    (Persistence, "aof_enabled", Same),
    (Persistence, "aof_rewrite_in_progress", Most),
    (Persistence, "aof_rewrite_scheduled", Most),
    (Persistence, "aof_last_bgrewrite_status", Health),
    (Persistence, "aof_rewrites", Sum),
    (Persistence, "aof_last_write_status", Health),
    (Persistence, "aof_current_size", Sum),
    (Persistence, "aof_base_size", Sum),
    (Persistence, "module_fork_in_progress", Most),
    (Stats, "total_connections_received", Sum),
    (Stats, "total_commands_processed", Sum),
    (Stats, "instantaneous_ops_per_sec", Sum),
    (Stats, "total_net_input_bytes", Sum),
    (Stats, "total_net_output_bytes", Sum),
    (Stats, "instantaneous_input_kbps", Real(2)),
    (Stats, "instantaneous_output_kbps", Real(2)),
    (Stats, "rejected_connections", Sum),
    (Stats, "expired_keys", Sum),
    (Stats, "expired_time_cap_reached_count", Sum),
    (Stats, "expire_cycle_cpu_milliseconds", Sum),
    (Stats, "evicted_keys", Sum),
    (Stats, "evicted_clients", Sum),
    (Stats, "total_eviction_exceeded_time", Sum),
    (Stats, "current_eviction_exceeded_time", Most),
    (Stats, "keyspace_hits", Sum),
    (Stats, "keyspace_misses", Sum),
    (Stats, "total_forks", Sum),
    (Stats, "active_defrag_hits", Sum),
    (Stats, "active_defrag_misses", Sum),
    (Stats, "active_defrag_key_hits", Sum),
    (Stats, "active_defrag_key_misses", Sum),
    (Stats, "total_active_defrag_time", Sum),
    (Stats, "current_active_defrag_time", Most),
    (Stats, "tracking_total_keys", Sum),
    (Stats, "tracking_total_items", Sum),
    (Stats, "tracking_total_prefixes", Most),
    (Stats, "unexpected_error_replies", Sum),
    (Stats, "total_error_replies", Sum),
    (Stats, "dump_payload_sanitizations", Sum),
    (Stats, "total_reads_processed", Sum),
    (Stats, "total_writes_processed", Sum),
    (Stats, "io_threaded_reads_processed", Sum),
    (Stats, "io_threaded_writes_processed", Sum),
    (Stats, "reply_buffer_shrinks", Sum),
    (Stats, "reply_buffer_expands", Sum),
    (Cpu, "used_cpu_sys", Real(6)),
    (Cpu, "used_cpu_user", Real(6)),
    (Cpu, "used_cpu_sys_children", Real(6)),
    (Cpu, "used_cpu_user_children", Real(6)),
    (Cpu, "used_cpu_sys_main_thread", Real(6)),
    (Cpu, "used_cpu_user_main_thread", Real(6)),
];

/// A page that waits for its nodes.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) protocol: Protocol,
    pub(crate) wanted: Wanted,
    /// What the proxy itself says, each as `name:value`, by section.
    pub(crate) own: Vec<(Section, String)>,
}

/// What one node said.
struct Told<'a> {
    lines: Vec<(&'a str, &'a str)>,
    fields: HashMap<&'a str, &'a str>,
}

impl<'a> Told<'a> {
    /// Reads a node's page; `None` when it is none.
    fn new(reply: &'a [u8]) -> Option<Self> {
        let page = std::str::from_utf8(pieces::text(reply)?).ok()?;
        let lines =
            page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        let lines: Vec<_> = lines.collect();
        let fields = lines.iter().copied().collect();
        Some(Self { lines, fields })
    }

    /// `used_memory` of the Memory section, for the line of the node.
    fn field(&self, name: &str) -> &'a str {
        self.fields.get(name).copied().unwrap_or_default()
    }

    /// How many keys it holds, in all databases.
    fn keys(&self) -> u64 {
        let databases = self.lines.iter().filter(|(name, _)| is_database(name));
        databases.filter_map(|(_, value)| part(value, "keys")).fold(0, u64::saturating_add)
    }
}

fn is_database(name: &str) -> bool {
    name.strip_prefix("db").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The number behind `name=` in `a=1,b=2`.
fn part(value: &str, name: &str) -> Option<u64> {
    let parts = value.split(',').filter_map(|part| part.split_once('='));
    parts.into_iter().find(|(known, _)| *known == name).and_then(|(_, number)| number.parse().ok())
}

/// Appends the page. For each node of `topology` its reply, if one came.
pub(crate) fn join<'a>(
    out: &mut Vec<u8>,
    page: &Page,
    topology: &Topology,
    replies: impl Iterator<Item = Option<&'a [u8]>>,
) {
    let nodes: Vec<(Option<&[u8]>, Option<Told<'_>>)> =
        replies.map(|reply| (reply, reply.and_then(Told::new))).collect();
    let told: Vec<&Told<'_>> = nodes.iter().filter_map(|(_, told)| told.as_ref()).collect();
    let missing = topology.nodes().iter().zip(&nodes).filter(|(_, (_, told))| told.is_none());
    let missing: Vec<String> = missing.map(|(node, _)| shown(&node.name)).collect();
    let mut text = String::new();
    for (section, name) in SECTIONS.iter().filter(|(section, _)| page.wanted.has(*section)) {
        if !text.is_empty() {
            text += "\r\n";
        }
        let mut line = |line: &str| {
            text += line;
            text += "\r\n";
        };
        line(&format!("# {name}"));
        page.own.iter().filter(|(of, _)| of == section).for_each(|(_, own)| line(own));
        if section.is_of_nodes() && !missing.is_empty() {
            line(&format!("ringway_missing_nodes:{}", missing.join(",")));
        }
        match section {
            Section::Modules => modules(&told, line),
            Section::CommandStats => counts(&told, "cmdstat_", line),
            Section::ErrorStats => counts(&told, "errorstat_", line),
            Section::Keyspace => keyspace(&told, line),
            Section::Nodes => each_node(topology, &nodes, line),
            _ => fields(*section, &told, line),
        }
    }
    encode::verbatim(out, page.protocol, &text);
}

/// A name inside of a value that clients cut at commas and equals signs.
fn shown(name: &str) -> String {
    name.replace('%', "%25").replace(',', "%2C").replace('=', "%3D")
}

/// The lines of a section that are made by [`FIELDS`].
fn fields(section: Section, told: &[&Told<'_>], mut line: impl FnMut(&str)) {
    for (_, name, rule) in FIELDS.iter().filter(|(of, ..)| *of == section) {
        let Some(value) = joined(told, name, *rule) else { continue };
        line(&format!("{name}:{value}"));
        if let (Bytes | Limit, Ok(bytes)) = (rule, value.parse()) {
            line(&format!("{name}_human:{}", human(bytes)));
        }
    }
}

/// One value out of those of all nodes that answered; `None` when one of them has none, or none that fits.
fn joined(told: &[&Told<'_>], name: &str, rule: Rule) -> Option<String> {
    let values =
        |name: &str| told.iter().map(|told| told.fields.get(name).copied()).collect::<Option<Vec<_>>>();
    let numbers = |name: &str| -> Option<Vec<i64>> {
        let values = values(name)?.into_iter().map(|value| value.parse().ok());
        values.collect::<Option<Vec<_>>>().filter(|numbers| !numbers.is_empty())
    };
    let sum = |name: &str| numbers(name)?.into_iter().try_fold(0i64, i64::checked_add);
    match rule {
        Sum | Bytes => Some(sum(name)?.to_string()),
        Limit => {
            let unlimited = numbers(name)?.contains(&0);
            if unlimited { Some("0".into()) } else { Some(sum(name)?.to_string()) }
        }
        Most => Some(numbers(name)?.into_iter().max()?.to_string()),
        Least => Some(numbers(name)?.into_iter().min()?.to_string()),
        Real(digits) => {
            let numbers = values(name)?.into_iter().map(|value| value.parse::<f64>().ok());
            let numbers = numbers.collect::<Option<Vec<_>>>().filter(|numbers| !numbers.is_empty())?;
            Some(format!("{:.digits$}", numbers.iter().sum::<f64>()))
        }
        Same => {
            let values = values(name)?;
            let first = *values.first()?;
            values.iter().all(|value| *value == first).then(|| first.to_owned())
        }
        Health => {
            let values = values(name)?;
            let ill = values.iter().find(|value| **value != "ok");
            ill.or(values.first()).map(|value| (*value).to_owned())
        }
        Ratio(part, whole) => {
            let (part, whole) = (sum(part)?, sum(whole)?);
            (whole > 0).then(|| format!("{:.2}", part as f64 / whole as f64))
        }
    }
}

/// Bytes as Redis writes them for people.
fn human(bytes: i64) -> String {
    const UNITS: [(i64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

/// Modules that all nodes have alike.
fn modules(told: &[&Told<'_>], mut line: impl FnMut(&str)) {
    let of = |told: &Told<'_>| -> Vec<String> {
        let modules = told.lines.iter().filter(|(name, _)| *name == "module");
        modules.map(|(name, value)| format!("{name}:{value}")).collect()
    };
    let Some((first, others)) = told.split_first() else { return };
    let others: Vec<Vec<String>> = others.iter().map(|told| of(told)).collect();
    let everywhere = of(first).into_iter().filter(|module| others.iter().all(|other| other.contains(module)));
    everywhere.for_each(|module| line(&module));
}

/// Lines like `cmdstat_get:calls=2,usec=5,usec_per_call=2.50`: counts added up over nodes, time per call made anew.
fn counts(told: &[&Told<'_>], prefix: &str, mut line: impl FnMut(&str)) {
    const SUMMED: [&str; 5] = ["calls", "usec", "rejected_calls", "failed_calls", "count"];
    let mut names: Vec<&str> = Vec::new();
    let mut sums: HashMap<&str, [u64; SUMMED.len()]> = HashMap::new();
    for (name, value) in told.iter().flat_map(|told| &told.lines).filter(|(name, _)| name.starts_with(prefix))
    {
        let sums = sums.entry(name).or_insert_with(|| {
            names.push(name);
            Default::default()
        });
        for (sum, field) in sums.iter_mut().zip(SUMMED) {
            *sum = sum.saturating_add(part(value, field).unwrap_or(0));
        }
    }
    for name in names {
        let [calls, usec, rejected, failed, count] = sums.get(name).copied().unwrap_or_default();
        if prefix == "errorstat_" {
            line(&format!("{name}:count={count}"));
        } else {
            let per_call = if calls == 0 { 0.0 } else { usec as f64 / calls as f64 };
            line(&format!(
                "{name}:calls={calls},usec={usec},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}"
            ));
        }
    }
}

/// `db0:keys=2,expires=1,avg_ttl=500`: keys added up, the time to live weighted by the keys that have one.
fn keyspace(told: &[&Told<'_>], mut line: impl FnMut(&str)) {
    let mut databases: Vec<(u32, &str, [u64; 2], u128)> = Vec::new();
    for (name, value) in told.iter().flat_map(|told| &told.lines).filter(|(name, _)| is_database(name)) {
        let of = |field: &str| part(value, field).unwrap_or(0);
        let (keys, expires) = (of("keys"), of("expires"));
        let ttls = u128::from(of("avg_ttl")) * u128::from(expires);
        match databases.iter_mut().find(|(_, known, ..)| known == name) {
            Some((_, _, sums, all)) => {
                *sums = [sums[0].saturating_add(keys), sums[1].saturating_add(expires)];
                *all = all.saturating_add(ttls);
            }
            None => databases.push((name[2..].parse().unwrap_or(0), name, [keys, expires], ttls)),
        }
    }
    databases.sort_unstable_by_key(|(number, ..)| *number);
    for (_, name, [keys, expires], ttls) in databases {
        let ttl = ttls.checked_div(u128::from(expires)).unwrap_or(0);
        line(&format!("{name}:keys={keys},expires={expires},avg_ttl={ttl}"));
    }
}

/// One line per node: who it is, and its own share of the sums or why it has none.
fn each_node(topology: &Topology, nodes: &[(Option<&[u8]>, Option<Told<'_>>)], mut line: impl FnMut(&str)) {
    line(&format!("topology_epoch:{}", topology.epoch()));
    for (at, (node, (reply, told))) in topology.nodes().iter().zip(nodes).enumerate() {
        let mut text = format!("node{at}:name={},address={}", shown(&node.name), shown(&node.address));
        let share = topology.ring().share(at) * 100.0;
        let state = if reply.is_some() { "up" } else { "down" };
        let _ = write!(text, ",state={state},share_percent={share:.2}");
        match (told, reply) {
            (Some(told), _) => {
                let memory = told.field("used_memory");
                let version = told.field("redis_version");
                let _ = write!(text, ",used_memory={memory},keys={},version={version}", told.keys());
            }
            // the first word of what it says instead: -NOPERM, -BUSY
            (None, Some(reply)) => {
                let word =
                    reply.strip_prefix(b"-").unwrap_or_default().split(|byte| !byte.is_ascii_uppercase());
                let word = word.into_iter().next().unwrap_or_default();
                let _ = write!(text, ",error={}", String::from_utf8_lossy(word));
            }
            (None, None) => {}
        }
        line(&text);
    }
}

#[cfg(test)]
#[path = "info_tests.rs"]
mod tests;
