//! What is counted is what happened: the metrics and the statistics against traffic that was counted by hand.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Cluster, wait_for};

/// Name and labels (as they stand) to value.
fn scrape(cluster: &Cluster) -> BTreeMap<String, f64> {
    let answer = cluster.http().get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let samples = answer.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name value");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

/// The sum of all samples of a metric whose labels contain all of `parts`.
fn sum(samples: &BTreeMap<String, f64>, name: &str, parts: &[&str]) -> f64 {
    let of_name =
        |sample: &str| sample == name || sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    samples
        .iter()
        .filter(|(sample, _)| of_name(sample) && parts.iter().all(|part| sample.contains(part)))
        .map(|(_, value)| value)
        .sum()
}

#[test]
fn the_promised_names_are_there() {
    let cluster = Cluster::start(2).with_admin();
    cluster.client().call(&["GET", "some"]);
    let samples = scrape(&cluster);
    let names: BTreeSet<&str> =
        samples.keys().map(|sample| sample.split('{').next().expect("a name")).collect();
    for name in [
        "ringway_commands_total",
        "ringway_command_seconds_bucket",
        "ringway_command_seconds_sum",
        "ringway_command_seconds_count",
        "ringway_client_connections",
        "ringway_blocked_clients",
        "ringway_node_connections",
        "ringway_node_up",
        "ringway_reads_repeated_total",
        "ringway_keys_lookups_total",
        "ringway_topology_epoch",
        "ringway_node_share_ratio",
        "ringway_last_change_moved_ratio",
        "ringway_bytes_total",
        "ringway_subscriptions",
        "ringway_messages_delivered_total",
        "ringway_subscribers_cut_total",
    ] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    if cfg!(target_os = "linux") {
        assert!(names.contains("process_resident_memory_bytes"), "{names:?}");
    }
    assert_eq!(sum(&samples, "ringway_topology_epoch", &[]), 1.0);
    assert_eq!(sum(&samples, "ringway_node_up", &[]), 2.0);
    assert!((sum(&samples, "ringway_node_share_ratio", &[]) - 1.0).abs() < 1e-6);
    let text = cluster.http().get("/metrics").text;
    for name in names.iter().filter(|name| name.starts_with("ringway_")) {
        let family = name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
        assert!(text.contains(&format!("# HELP {family} ")), "{family} has a help text");
        assert!(text.contains(&format!("# TYPE {family} ")), "{family} has a type");
    }
}

#[test]
fn the_dashboard_asks_for_figures_that_there_are() {
    let cluster =
        Cluster::start_with(2, |settings| settings.near_cache = Some(Default::default())).with_admin();
    cluster.client().call(&["GET", "some"]);
    let samples = scrape(&cluster);
    let names: BTreeSet<&str> =
        samples.keys().map(|sample| sample.split('{').next().expect("a name")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/dashboards/ringway.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let asked: BTreeSet<&str> = targets
        .flat_map(|target| target["expr"].as_str().expect("an expression").split(|c| !is_of_name(c)))
        .filter(|word| word.starts_with("ringway_") || word.starts_with("process_"))
        .collect();
    assert!(asked.len() > 15, "{asked:?}");
    let missing: Vec<_> = asked.difference(&names).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn counters_equal_what_was_sent() {
    let cluster = Cluster::start(3).with_admin();
    let before = scrape(&cluster);
    let mut client = cluster.client();
    let mut hits: BTreeMap<String, f64> = BTreeMap::new();
    let mut misses: BTreeMap<String, f64> = BTreeMap::new();
    let mut sets: BTreeMap<String, f64> = BTreeMap::new();
    for n in 0..300 {
        let (key, absent) = (format!("counted:{n}"), format!("absent:{n}"));
        client.send_command(&["SET", &key, "v"]);
        *sets.entry(cluster.owner(&key)).or_default() += 1.0;
        client.send_command(&["GET", &key]);
        *hits.entry(cluster.owner(&key)).or_default() += 1.0;
        client.send_command(&["GET", &absent]);
        *misses.entry(cluster.owner(&absent)).or_default() += 1.0;
        client.send_command(&["MGET", &key, &absent]);
        *hits.entry(cluster.owner(&key)).or_default() += 1.0;
        *misses.entry(cluster.owner(&absent)).or_default() += 1.0;
        client.send_command(&["LPUSH", &key, "wrong type"]);
        client.send_command(&["ECHO", "x"]);
    }
    (0..1800).for_each(|_| drop(client.reply()));
    let after = scrape(&cluster);
    let grown = |name: &str, parts: &[&str]| sum(&after, name, parts) - sum(&before, name, parts);
    for node in ["cache-1", "cache-2", "cache-3"] {
        let label = format!("node=\"{node}\"");
        assert_eq!(
            grown("ringway_keys_lookups_total", &[&label, "result=\"hit\""]),
            hits[node],
            "hits of {node}"
        );
        assert_eq!(
            grown("ringway_keys_lookups_total", &[&label, "result=\"miss\""]),
            misses[node],
            "misses of {node}"
        );
        let of_set = |outcome: &str| {
            grown("ringway_commands_total", &[&label, "command=\"set\"", &format!("outcome=\"{outcome}\"")])
        };
        assert_eq!((of_set("ok"), of_set("error")), (sets[node], 0.0), "SET on {node}");
        let wrong = grown("ringway_commands_total", &[&label, "command=\"lpush\"", "outcome=\"error\""]);
        assert_eq!(wrong, sets[node], "LPUSH on {node}");
    }
    assert_eq!(grown("ringway_commands_total", &["command=\"echo\"", "outcome=\"ok\""]), 300.0);
    let answered = grown("ringway_commands_total", &["command=\"set\""])
        + grown("ringway_commands_total", &["command=\"get\""]);
    assert_eq!(answered, 900.0);
    assert!(grown("ringway_command_seconds_count", &[]) >= 1500.0);
    assert!(grown("ringway_bytes_total", &["direction=\"in\"", "side=\"client\""]) > 0.0);
    assert_eq!(sum(&after, "ringway_client_connections", &[]), 1.0);

    // the same figures as JSON
    let stats = cluster.http().get("/v1/stats").ok();
    let nodes = stats["nodes"].as_array().expect("nodes");
    let total = |field: &str| nodes.iter().map(|node| node[field].as_f64().expect("a number")).sum::<f64>();
    assert_eq!(total("hits"), sum(&after, "ringway_keys_lookups_total", &["result=\"hit\""]));
    assert_eq!(total("misses"), sum(&after, "ringway_keys_lookups_total", &["result=\"miss\""]));
}

#[test]
fn failures_are_counted_by_what_the_client_was_told() {
    let mut cluster = Cluster::start(2).with_admin();
    let key = cluster.key_of("cache-1");
    cluster.server_mut("cache-1").kill();
    let mut client = cluster.client();
    let mut told = BTreeMap::<&str, f64>::new();
    let before = scrape(&cluster);
    for _ in 0..100 {
        let reply = client.text(&["INCR", &key]);
        let outcome = if reply.starts_with("-NOTSENT") { "notsent" } else { "unknown" };
        *told.entry(outcome).or_default() += 1.0;
    }
    let after = scrape(&cluster);
    for outcome in ["notsent", "unknown"] {
        let parts = ["node=\"cache-1\"", "command=\"incr\"", &format!("outcome=\"{outcome}\"")];
        let counted =
            sum(&after, "ringway_commands_total", &parts) - sum(&before, "ringway_commands_total", &parts);
        assert_eq!(counted, told.get(outcome).copied().unwrap_or(0.0), "{outcome}: {told:?}");
    }
    wait_for("the node to be shown as down", || {
        sum(&scrape(&cluster), "ringway_node_up", &["cache-1"]) == 0.0
    });
    assert_eq!(sum(&scrape(&cluster), "ringway_node_up", &["cache-2"]), 1.0);
}

#[test]
fn the_ledger_is_even_at_rest() {
    let cluster = Cluster::start(2);
    let before = cluster.control().snapshot();
    for round in 0..20 {
        let mut client = cluster.client();
        for n in 0..50 {
            client.send_command(&["SET", &format!("ledger:{n}"), "v"]);
            client.send_command(&["MGET", &format!("ledger:{n}"), "other", "third"]);
        }
        if round % 2 == 0 {
            (0..100).for_each(|_| drop(client.reply()));
        }
    }
    wait_for("the clients to be gone", || cluster.control().snapshot().client_connections == 0);
    let mut ledger = (0, 0, 0);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while ledger.0 == 0 || ledger.0 != ledger.1 + ledger.2 {
        let now = cluster.control().snapshot();
        ledger = (
            now.commands_read - before.commands_read,
            now.replies - before.replies,
            now.replies_dropped - before.replies_dropped,
        );
        assert!(std::time::Instant::now() < limit, "(read, replies, dropped) = {ledger:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_change_shows_in_the_metrics() {
    let cluster = Cluster::start(3).with_admin();
    assert_eq!(sum(&scrape(&cluster), "ringway_last_change_moved_ratio", &[]), 0.0);
    let report = cluster.http().send("DELETE", "/v1/nodes/cache-3", None).ok();
    let after = scrape(&cluster);
    let moved = report["moved_percent"].as_f64().expect("a number") / 100.0;
    assert!((sum(&after, "ringway_last_change_moved_ratio", &[]) - moved).abs() < 1e-4);
    assert_eq!(sum(&after, "ringway_topology_epoch", &[]), 2.0);
    assert_eq!(sum(&after, "ringway_node_share_ratio", &["cache-3"]), 0.0);
}
