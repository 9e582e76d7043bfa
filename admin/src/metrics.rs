//! Prometheus text out of the proxy's figures; names and labels are a promise (contract: Metrics).
//!
//! Nothing is registered and nothing is global: every scrape builds the families from one snapshot, so two proxies
//! live in one process and no figure is kept twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, UNIX_EPOCH};

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use ringway_proxy::control::{Control, MovementStatus};
use ringway_proxy::stats::{
    ClosedFor, CommandCount, DENIED_FOR, LATENCY_BOUNDS_US, NearSnapshot, NodeSnapshot, NodeState, Snapshot,
};
use ringway_proxy::topology::Topology;

use crate::error::ApiError;
use crate::follow;
use crate::guard::Refusals;

type Labels<'a> = &'a [(&'a str, &'a str)];

/// The proxy's figures as Prometheus text.
pub(crate) struct Metrics {
    control: Control,
    refusals: Arc<Refusals>,
    node_bytes: Mutex<NodeBytes>,
    #[cfg(target_os = "linux")]
    process: prometheus::process_collector::ProcessCollector,
}

/// Keeps the sum over nodes from falling when a node leaves and takes its figures with it: a counter that falls
/// looks like a restart, and `rate()` would count everything again.
#[derive(Debug, Default)]
struct NodeBytes {
    last: HashMap<String, (u64, u64)>,
    gone: (u64, u64),
}

impl Metrics {
    pub(crate) fn new(control: Control, refusals: Arc<Refusals>) -> Self {
        Self {
            control,
            refusals,
            node_bytes: Mutex::default(),
            #[cfg(target_os = "linux")]
            process: prometheus::process_collector::ProcessCollector::for_self(),
        }
    }

    /// One scrape.
    ///
    /// # Errors
    /// 500 when the text cannot be written, which no request causes.
    pub(crate) fn text(&self) -> Result<String, ApiError> {
        let snapshot = self.control.snapshot();
        let topology = self.control.topology();
        let mut families = command_families(&snapshot);
        families.extend(node_families(&snapshot, &topology));
        families.push(gauge(
            "ringway_client_connections",
            "Clients connected.",
            snapshot.client_connections as f64,
        ));
        families.push(gauge(
            "ringway_blocked_clients",
            "Clients that wait for something to happen (BLPOP and its kin).",
            snapshot.blocked_clients as f64,
        ));
        let expires = self.control.certificate_expires().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if let Some(expires) = expires {
            families.push(gauge(
                "ringway_tls_certificate_expiry_timestamp_seconds",
                "Until when the certificate is valid that clients are shown over TLS, in seconds since 1970.",
                expires.as_secs() as f64,
            ));
        }
        families.push(gauge("ringway_topology_epoch", "Epoch of the topology.", topology.epoch() as f64));
        families.push(gauge(
            "ringway_last_change_moved_ratio",
            "Part of the hash space that the last change of topology moved, 0 to 1.",
            self.control.last_moved(),
        ));
        let are_moving = topology.former().is_some();
        families.extend(movement_families(self.control.movement().as_ref(), are_moving));
        families.extend(self.companions(&topology));
        families.push(self.bytes(&snapshot));
        families.extend(subscription_families(&snapshot));
        families.extend(guard_families(&snapshot, self.control.memory_limit()));
        if let Some(settings) = self.control.near_cache() {
            families.extend(near_cache_families(&snapshot.near, settings.memory_bytes));
        }
        let refused = self.refusals.counts();
        families.push(family(
            "ringway_admin_refused_total",
            "Requests and connections to the control plane that were refused before any handler, by reason.",
            MetricType::COUNTER,
            refused.iter().map(|(reason, value)| count(&[("reason", reason)], *value)).collect(),
        ));
        #[cfg(target_os = "linux")]
        families.extend(prometheus::core::Collector::collect(&self.process));
        // the encoder refuses families without a metric
        families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&families).map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Those that follow this Ringway, and whether it hears the one that it follows.
    fn companions(&self, topology: &Topology) -> Vec<MetricFamily> {
        let all = self.control.followers().all_of_them(Instant::now());
        let row = |state: &'static str| {
            let in_it = all.iter().filter(|one| follow::state(one, topology.epoch()) == state).count();
            measured(&[("state", state)], in_it as f64)
        };
        let followers = family(
            "ringway_followers",
            "Other Ringways that serve by the topology of this one, by state.",
            MetricType::GAUGE,
            follow::STATES.into_iter().map(row).collect(),
        );
        let in_touch = self.control.follows().map(|_| {
            gauge(
                "ringway_follows_in_touch",
                "Whether the Ringway that this one follows was heard of when it was asked last.",
                f64::from(u8::from(self.control.hears_leader())),
            )
        });
        let sentinels = self.control.sentinels();
        let answering = sentinels.iter().filter(|sentinel| sentinel.answers()).count();
        let states = [("answers", answering), ("silent", sentinels.len() - answering)];
        let asked = (!sentinels.is_empty()).then(|| {
            family(
                "ringway_sentinels",
                "Sentinels by whether they answered when they were asked last.",
                MetricType::GAUGE,
                states.iter().map(|(state, count)| measured(&[("state", state)], *count as f64)).collect(),
            )
        });
        let switches = asked.is_some().then(|| {
            family(
                "ringway_master_switches_total",
                "How often sentinels have named another server as the master of a node.",
                MetricType::COUNTER,
                vec![count(&[], self.control.master_switches())],
            )
        });
        std::iter::once(followers).chain(in_touch).chain(asked).chain(switches).collect()
    }

    fn bytes(&self, snapshot: &Snapshot) -> MetricFamily {
        let (node_in, node_out) =
            self.node_bytes.lock().unwrap_or_else(PoisonError::into_inner).sum(&snapshot.nodes);
        let rows = [
            ("in", "client", snapshot.client_bytes_in),
            ("out", "client", snapshot.client_bytes_out),
            ("in", "node", node_in),
            ("out", "node", node_out),
        ];
        let metrics = rows
            .iter()
            .map(|(direction, side, value)| count(&[("direction", direction), ("side", side)], *value));
        family(
            "ringway_bytes_total",
            "Bytes read (in) and written (out) by the proxy.",
            MetricType::COUNTER,
            metrics.collect(),
        )
    }
}

impl NodeBytes {
    fn sum(&mut self, nodes: &[NodeSnapshot]) -> (u64, u64) {
        let now: HashMap<String, (u64, u64)> =
            nodes.iter().map(|node| (node.name.clone(), (node.bytes_in, node.bytes_out))).collect();
        for (name, last) in &self.last {
            // smaller figures are those of a node that left and came back
            if now.get(name).is_none_or(|now| now.0 < last.0 || now.1 < last.1) {
                self.gone = (self.gone.0 + last.0, self.gone.1 + last.1);
            }
        }
        self.last = now;
        self.last.values().fold(self.gone, |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1))
    }
}

/// Keys on their way, if any ever were.
fn movement_families(movement: Option<&MovementStatus>, are_moving: bool) -> [MetricFamily; 3] {
    let of = |value: fn(&MovementStatus) -> u64| movement.map_or(0.0, |movement| value(movement) as f64);
    [
        gauge(
            "ringway_keys_moving",
            "Whether keys are on their way after a change.",
            f64::from(u8::from(are_moving)),
        ),
        gauge(
            "ringway_keys_moved",
            "Keys that the last movement has brought to their nodes.",
            of(|one| one.moved),
        ),
        gauge(
            "ringway_keys_left",
            "Keys that it could not move when they were last tried.",
            of(|one| one.left),
        ),
    ]
}

/// What the proxy's bounds hold and whom they hit.
fn guard_families(snapshot: &Snapshot, memory_limit: usize) -> Vec<MetricFamily> {
    let counter =
        |name: &str, help: &str, value: u64| family(name, help, MetricType::COUNTER, vec![count(&[], value)]);
    let closed = ClosedFor::ALL.iter().zip(snapshot.closed);
    let denied = DENIED_FOR.iter().zip(snapshot.denied);
    vec![
        gauge(
            "ringway_memory_bytes",
            "Bytes that clients and connections to nodes make the process hold.",
            snapshot.memory_bytes as f64,
        ),
        gauge("ringway_memory_limit_bytes", "limits.memory_bytes.", memory_limit as f64),
        family(
            "ringway_clients_closed_total",
            "Clients that the proxy closed, by reason.",
            MetricType::COUNTER,
            closed.map(|(why, value)| count(&[("reason", why.label())], value)).collect(),
        ),
        counter(
            "ringway_authentication_failures_total",
            "Wrong passwords of clients.",
            snapshot.authentication_failures,
        ),
        family(
            "ringway_denied_total",
            "Commands that their users may not give, by what they may not use.",
            MetricType::COUNTER,
            denied.map(|(what, value)| count(&[("reason", what)], value)).collect(),
        ),
        counter(
            "ringway_log_lines_dropped_total",
            "Lines of the log that nobody took in time.",
            snapshot.log_lines_dropped,
        ),
    ]
}

/// What is kept of nodes' answers.
fn near_cache_families(near: &NearSnapshot, memory_limit: usize) -> Vec<MetricFamily> {
    let counter =
        |name: &str, help: &str, value: u64| family(name, help, MetricType::COUNTER, vec![count(&[], value)]);
    vec![
        counter("ringway_near_cache_hits_total", "Reads answered from what is kept.", near.hits),
        counter("ringway_near_cache_fills_total", "Answers that were asked for, to be kept.", near.fills),
        counter(
            "ringway_near_cache_invalidations_total",
            "Keys that nodes said have changed.",
            near.invalidations,
        ),
        gauge(
            "ringway_near_cache_keys",
            "Keys of which answers are kept, each once for every worker that does.",
            near.keys as f64,
        ),
        gauge("ringway_near_cache_bytes", "Bytes of memory that they take.", near.bytes as f64),
        gauge("ringway_near_cache_limit_bytes", "near_cache.memory_bytes.", memory_limit as f64),
    ]
}

/// What is counted per command, and per read.
fn command_families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let row = |node: &str, row: &CommandCount| {
        count(&[("node", node), ("command", row.command), ("outcome", row.outcome.label())], row.count)
    };
    let own = snapshot.local.iter().map(|command| row("", command));
    let of_nodes =
        snapshot.nodes.iter().flat_map(|node| node.commands.iter().map(|command| row(&node.name, command)));
    let lookups = snapshot.nodes.iter().flat_map(|node| {
        let name = node.name.as_str();
        [("hit", node.hits), ("miss", node.misses)]
            .map(|(result, value)| count(&[("node", name), ("result", result)], value))
    });
    let repeated = snapshot.nodes.iter().map(|node| count(&[("node", &node.name)], node.reads_repeated));
    vec![
        family(
            "ringway_commands_total",
            "Commands by node, name and outcome; node=\"\" are those that the proxy answered itself.",
            MetricType::COUNTER,
            own.chain(of_nodes).collect(),
        ),
        family(
            "ringway_emulated_total",
            "Commands whose reply was computed from the answers of several nodes (multi_key: emulate).",
            MetricType::COUNTER,
            snapshot.emulated.iter().map(|(command, value)| count(&[("command", command)], *value)).collect(),
        ),
        family(
            "ringway_command_seconds",
            "Time from a command's arrival to its node's whole reply.",
            MetricType::HISTOGRAM,
            snapshot.nodes.iter().map(latency).collect(),
        ),
        family(
            "ringway_reads_repeated_total",
            "Reads sent again because their connection to the node was lost.",
            MetricType::COUNTER,
            repeated.collect(),
        ),
        family(
            "ringway_keys_lookups_total",
            "Reads of keys that the node held (hit) or did not (miss).",
            MetricType::COUNTER,
            lookups.collect(),
        ),
    ]
}

/// What clients listen to.
fn subscription_families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let kinds = ["channel", "pattern", "shard"].iter().zip(&snapshot.subscriptions);
    let counter =
        |name: &str, help: &str, value: u64| family(name, help, MetricType::COUNTER, vec![count(&[], value)]);
    vec![
        family(
            "ringway_subscriptions",
            "Channels, patterns and shard channels that clients listen to, each client's by itself.",
            MetricType::GAUGE,
            kinds.map(|(kind, value)| measured(&[("kind", kind)], *value as f64)).collect(),
        ),
        counter(
            "ringway_messages_delivered_total",
            "Published messages handed to clients.",
            snapshot.messages_delivered,
        ),
        counter(
            "ringway_subscribers_cut_total",
            "Clients closed because they left too many messages unread.",
            snapshot.subscribers_cut,
        ),
    ]
}

/// What is known of each node of the topology.
fn node_families(snapshot: &Snapshot, topology: &Topology) -> Vec<MetricFamily> {
    let known: HashMap<&str, &NodeSnapshot> =
        snapshot.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let of_nodes = |name: &str, help: &str, value: &dyn Fn(usize, Option<&NodeSnapshot>) -> f64| {
        let rows = topology.nodes().iter().enumerate().map(|(at, node)| {
            measured(&[("node", &node.name)], value(at, known.get(node.name.as_str()).copied()))
        });
        family(name, help, MetricType::GAUGE, rows.collect())
    };
    vec![
        of_nodes("ringway_node_up", "Whether at least one worker can use the node, 0 or 1.", &|_, node| {
            f64::from(u8::from(node.is_some_and(|node| node.state == NodeState::Up)))
        }),
        of_nodes("ringway_node_connections", "Open connections to the node.", &|_, node| {
            node.map_or(0.0, |node| node.connections as f64)
        }),
        of_nodes(
            "ringway_node_share_ratio",
            "Part of the hash space that the node owns, 0 to 1.",
            &|at, _| topology.ring().share(at),
        ),
    ]
}

fn latency(node: &NodeSnapshot) -> Metric {
    let mut below = 0;
    let buckets = LATENCY_BOUNDS_US.iter().zip(&node.latency_buckets).map(|(us, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*us as f64 / 1e6);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(node.latency_buckets.iter().sum());
    histogram.set_sample_sum(node.latency_sum_seconds);
    let mut metric = labelled(&[("node", &node.name)]);
    metric.set_histogram(histogram);
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![measured(&[], value)])
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

fn measured(labels: Labels<'_>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn count(labels: Labels<'_>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, bytes_in: u64) -> NodeSnapshot {
        NodeSnapshot {
            name: name.into(),
            state: NodeState::Up,
            why: String::new(),
            connections: 1,
            connects: 1,
            reads_repeated: 0,
            commands: Vec::new(),
            latency_buckets: vec![1; LATENCY_BOUNDS_US.len() + 1],
            latency_sum_seconds: 1.5,
            hits: 3,
            misses: 4,
            bytes_in,
            bytes_out: 0,
        }
    }

    #[test]
    fn the_sum_over_nodes_never_falls() {
        let mut bytes = NodeBytes::default();
        assert_eq!(bytes.sum(&[node("a", 10), node("b", 5)]).0, 15);
        assert_eq!(bytes.sum(&[node("a", 12)]).0, 17);
        assert_eq!(bytes.sum(&[node("a", 12), node("b", 1)]).0, 18);
        assert_eq!(bytes.sum(&[node("a", 3), node("b", 1)]).0, 21);
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_infinity() {
        let family =
            family("ringway_command_seconds", "h", MetricType::HISTOGRAM, vec![latency(&node("a", 0))]);
        let text = TextEncoder::new().encode_to_string(&[family]).unwrap();
        assert!(text.contains("ringway_command_seconds_bucket{node=\"a\",le=\"0.000064\"} 1\n"), "{text}");
        assert!(text.contains("le=\"16.777216\"} 19\n") && text.contains("le=\"+Inf\"} 20\n"), "{text}");
        assert!(text.contains("ringway_command_seconds_sum{node=\"a\"} 1.5\n"), "{text}");
    }
}
