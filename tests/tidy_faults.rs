//! The list of faults and what must be seen, and the page that says which tests cover each: `docs/faults.md` is made from
//! this list and from the names of the tests, and must be up to date.
//!
//! A test covers the row with which its name begins: `a1_node_killed_at_full_load`. One that takes long says so before
//! it, `long_a14_…`, is ignored by `make test` and run by `make test-faults`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tidy::{read, sources};

/// Written anew by the test itself when this is set.
const WRITE: &str = "RINGWAY_WRITE_DOCS";

/// A fault and what must be seen.
struct Row(&'static str, &'static str, &'static str);

const GROUPS: [(&str, &[Row]); 7] = [
    (
        "Nodes and the way to them",
        &[
            Row(
                "A1",
                "a node is killed at full load",
                "what was written is UNKNOWN, what was not is NOTSENT, at once; other nodes are undisturbed",
            ),
            Row(
                "A2",
                "one or all nodes are down at the start; MGET, MSET, DEL over a dead node",
                "the proxy starts and answers; a command over several nodes fails as a whole and says whether parts ran; nodes join when they are up",
            ),
            Row(
                "A3",
                "a node stands still",
                "UNKNOWN after `timeouts.operation`, then NOTSENT at once; back in use when it answers; a short pause changes nothing",
            ),
            Row(
                "A4",
                "a node that stood still wakes with old writes",
                "none of them runs after a newer one: the old connection is closed at the node first",
            ),
            Row(
                "A6",
                "a node closes connections again and again",
                "as A1, but reads are sent once more; a close that is seen before a write is invisible; at most ten connects a second, over all workers",
            ),
            Row(
                "A7",
                "a node answers with errors of its own: LOADING, READONLY, OOM, MISCONF, BUSY",
                "passed on byte for byte; no reason to give the node up; one that loads stays out until it answers PING",
            ),
            Row(
                "A8",
                "a node has no room for a connection",
                "its greeting's error is nobody's reply; the node takes part when it has room",
            ),
            Row("A11", "packets are lost on the way", "as A3; nothing runs twice when the way is mended"),
            Row("A13", "a slow way", "no node is given up while bytes come"),
            Row(
                "A14",
                "a node that flaps; half the nodes die and return together",
                "connects are bounded, memory stays, other nodes are undisturbed",
            ),
        ],
    ),
    (
        "Bytes from nodes",
        &[
            Row(
                "B1",
                "a reply is cut at any byte",
                "never a partial reply taken for a whole one, never another's",
            ),
            Row("B2", "replies come in pieces of any size", "the client gets the same bytes"),
            Row("B3", "replies that nobody awaits", "the connection is given up, stray bytes reach nobody"),
            Row(
                "B4",
                "replies that are malformed, huge or nested deeply",
                "the command fails or the reply passes, as Redis would mean it; nothing else fails",
            ),
            Row("B6", "a reply of hundreds of megabytes", "it passes through little memory"),
        ],
    ),
    (
        "Clients",
        &[
            Row(
                "C1",
                "a client leaves at any byte",
                "what comes for it is dropped; others see only their own",
            ),
            Row("C2", "a client ends its side", "it gets all its replies, then the end"),
            Row(
                "C3",
                "a client does not read",
                "its commands are no longer read, at the hard limit it is closed; nobody else waits",
            ),
            Row("C4", "commands that never end", "they cost little, reach no node and are closed in time"),
            Row("C5", "too many clients", "one more is told so; when they leave, everything is given back"),
            Row(
                "C6",
                "100,000 commands at once, no reply read",
                "it is slowed down, gets no error, and all replies in order",
            ),
            Row(
                "C7",
                "commands that change a connection: MONITOR, SUBSCRIBE, CLIENT REPLY, …",
                "answered by the proxy, run on a connection of its own, or refused; never on a shared one",
            ),
            Row(
                "C8",
                "a client leaves in a transaction, a subscription or a blocking command",
                "nothing of it stays at the node; others are undisturbed",
            ),
        ],
    ),
    (
        "Bytes from clients",
        &[
            Row(
                "D1",
                "broken RESP and typed lines",
                "Redis's own answer; earlier commands are answered first",
            ),
            Row(
                "D2",
                "a missing line break",
                "a protocol error and a close, where Redis would lose its place",
            ),
            Row(
                "D3",
                "names and arguments made to forge replies",
                "no error line can be forged, little is echoed",
            ),
            Row("D4", "HTTP and TLS on the Redis port", "closed at the first line, nothing runs"),
            Row("D5", "sizes that are announced and never come", "no memory until bytes come"),
            Row(
                "D6",
                "guesses before authentication",
                "little is read, little is told, each guess makes the next one wait, and all are counted",
            ),
            Row("D7", "commands in pieces of any size", "the same replies"),
            Row("D8", "where the keys are", "as the server itself finds them"),
        ],
    ),
    (
        "Resources",
        &[
            Row("E1", "no descriptors left", "accepting pauses and recovers; who is in is served"),
            Row(
                "E2",
                "more wanted than there is memory",
                "memory stays near `limits.memory_bytes`, the largest client goes first, others are served",
            ),
            Row(
                "E4",
                "more is offered than a node can do",
                "it does what it can; other nodes' commands do not wait for it",
            ),
            Row(
                "E5",
                "a defect in the proxy; a log that nobody reads",
                "one client's defect closes that client; one in what all share ends the process with a message; lines that nobody reads are dropped and counted",
            ),
        ],
    ),
    (
        "Topology and process",
        &[
            Row("F1", "changes of topology at full load", "no command fails; one of several writers wins"),
            Row("F2", "a bad topology", "refused with a reason; the old one serves on"),
            Row(
                "F4",
                "SIGTERM under load",
                "every command that was read is answered; a second SIGTERM means now",
            ),
            Row(
                "F5",
                "the proxy is killed; its topology file is damaged",
                "it goes on where it was; a damaged file is refused with a reason",
            ),
        ],
    ),
    (
        "The admin API",
        &[
            Row("G1", "wrong tokens", "401, compared in constant time, shown nowhere"),
            Row("G2", "a foreign Host or Origin, a form post", "refused before anything is done"),
            Row(
                "G3",
                "slow headers, many connections, huge bodies",
                "closed or refused; whoever sends a whole request is answered; the data plane notices nothing",
            ),
        ],
    ),
];

/// The rows' tests, by row in lower case.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["tests", "proxy", "admin", "src"] {
        for (_, text) in sources(folder) {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else {
                    continue;
                };
                let marked = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
                if marked.clone().any(|line| line.ends_with("test]") || line.contains("::test(")) {
                    let row = name.trim_start_matches("long_").split('_').next().unwrap_or_default();
                    found.entry(row.to_owned()).or_default().push(name.to_owned());
                }
            }
        }
    }
    found.values_mut().for_each(|names| names.sort());
    found
}

fn page(tests: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::from(
        "# Faults and what is seen\n\nEach row is a fault that the tests cause, on real Redis servers wherever that can be done, and what must be seen\nthen. What follows from it for users is in [reliability.md](reliability.md). `make test` runs all tests but those that\nbegin with `long_`; `make test-faults` runs those. One row alone: `cargo test --workspace a1_`.\n\nThis page is made from `tests/tidy_faults.rs` and the names of the tests:\n`RINGWAY_WRITE_DOCS=1 cargo test --test e2e tidy_faults` writes it.\n",
    );
    for (title, rows) in GROUPS {
        let _ =
            write!(out, "\n## {title}\n\n| Row | Fault | What must be seen | Tests |\n|---|---|---|---|\n");
        for Row(id, fault, seen) in rows {
            let names = tests.get(&id.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(out, "| {id} | {fault} | {seen} | {} |", names.join("<br>"));
        }
    }
    out
}

#[test]
fn every_row_has_a_test_and_long_ones_are_ignored() {
    let tests = tests();
    let rows = GROUPS.iter().flat_map(|(_, rows)| rows.iter());
    let bare: Vec<&str> =
        rows.map(|row| row.0).filter(|id| !tests.contains_key(&id.to_lowercase())).collect();
    assert!(bare.is_empty(), "rows without a test: {bare:?}");
    for (path, text) in sources("tests") {
        for (at, _) in text.match_indices("\nfn long_") {
            let above: Vec<&str> = text[..at].lines().rev().take(3).collect();
            assert!(above.iter().any(|line| line.starts_with("#[ignore")), "{path}: a long test runs always");
        }
    }
}

#[test]
fn the_page_of_faults_is_up_to_date() {
    let expected = page(&tests());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md"), &expected).expect("written");
    }
    assert!(
        read("docs/faults.md") == expected,
        "docs/faults.md is out of date; write it with  {WRITE}=1 cargo test --test e2e tidy_faults"
    );
}
