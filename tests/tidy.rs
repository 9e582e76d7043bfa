//! Rules about the source itself, checked by reading it: who may know whom, what every crate forbids, what the documents
//! promise. A ratchet instead of preaching.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const LONGEST_FILE: usize = 500;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a folder of the repository, with its path relative to the root.
pub(crate) fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

/// The lines that are code: neither comments nor what only tests see, which the house style keeps at the end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Tests in files of their own: `exchange_tests.rs`, `http_tests/mod.rs`.
fn is_test(path: &str) -> bool {
    path.contains("_tests")
}

/// Code lines below `folder` that contain one of `words`.
fn lines_with(folder: &str, words: &[&str], except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(folder) {
        if is_test(&path) || except.iter().any(|part| path.contains(part)) {
            continue;
        }
        for (number, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = read(manifest);
    let section = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| Some(line.split(['=', '.', ' ']).next()?.trim().to_owned());
    section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

fn has_none_of(manifest: &str, names: &[&str]) {
    let found = dependencies(manifest);
    let unwanted: Vec<&&str> = names.iter().filter(|name| found.contains(**name)).collect();
    assert!(unwanted.is_empty(), "{manifest} must not depend on {unwanted:?}");
}

#[test]
fn the_reader_of_manifests_reads() {
    assert!(dependencies("Cargo.toml").contains("ringway-proxy"));
    assert!(dependencies("proxy/Cargo.toml").contains("tokio"));
    assert!(sources("proxy/src").len() > 20);
}

#[test]
fn the_ring_knows_bytes_names_and_integers() {
    has_none_of("ring/Cargo.toml", &["tokio", "serde", "ringway-proxy", "ringway-admin", "rand"]);
    none(
        "ring is pure",
        &lines_with("ring/src", &["std::", "tokio", "serde", "ringway_proxy", "SystemTime"], &[]),
    );
    assert!(read("ring/src/lib.rs").contains("#![no_std]"));
}

#[test]
fn the_proxy_knows_no_http_no_files_no_argv_no_signals() {
    has_none_of(
        "proxy/Cargo.toml",
        &["axum", "hyper", "serde", "serde_yaml", "clap", "ringway-admin", "prometheus"],
    );
    let words = [
        "axum",
        "serde",
        "clap::",
        "std::fs",
        "std::env",
        "tokio::fs",
        "tokio::signal",
        "process::exit",
        "process::Command",
        "ringway_admin",
    ];
    // a unix socket is a file
    let net = ["proxy/src/net/server.rs", "proxy/src/net/socket_file.rs"];
    none("proxy is the data plane alone", &lines_with("proxy/src", &words, &net));
}

#[test]
fn inside_the_proxy_each_module_knows_only_those_below_it() {
    let above = |modules: &[&str]| -> Vec<String> {
        modules.iter().map(|module| format!("crate::{module}")).collect()
    };
    for (folder, modules) in [
        ("proxy/src/resp", ["command", "route::", "client", "upstream", "topology", "worker"].as_slice()),
        ("proxy/src/command", &["route::", "client", "upstream", "topology", "worker"]),
        ("proxy/src/acl", &["route::", "client", "upstream", "topology", "worker"]),
        ("proxy/src/route", &["client", "upstream", "worker"]),
        ("proxy/src/upstream", &["client", "route::", "worker"]),
        ("proxy/src/topology.rs", &["client", "route::", "upstream", "worker"]),
    ] {
        let words = above(modules);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        none(&format!("{folder} looks upwards"), &lines_with(folder, &words, &[]));
    }
}

#[test]
fn only_net_names_tcp_streams() {
    let words = ["TcpStream", "UnixStream"];
    let net = ["proxy/src/net/raw.rs", "proxy/src/net/socket_file.rs"];
    none("kinds of sockets belong into net", &lines_with("proxy/src", &words, &net));
    none("TLS belongs into net", &lines_with("proxy/src", &["rustls"], &["proxy/src/net/tls/"]));
}

#[test]
fn the_admin_plane_sees_the_proxy_through_four_modules() {
    has_none_of("admin/Cargo.toml", &["clap", "serde_yaml"]);
    let mut found = Vec::new();
    for (path, text) in sources("admin/src").into_iter().filter(|(path, _)| !is_test(path)) {
        for (number, line) in code(&text) {
            for after in line.split("ringway_proxy::").skip(1) {
                let allowed = ["control", "stats", "topology", "settings"];
                if !allowed.iter().any(|module| after.starts_with(module)) {
                    found.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    none("admin reaches into the proxy", &found);
}

#[test]
fn every_crate_forbids_unsafe_code() {
    for crate_root in ["src/main.rs", "ring/src/lib.rs", "proxy/src/lib.rs", "admin/src/lib.rs"] {
        assert!(read(crate_root).contains("#![forbid(unsafe_code)]"), "{crate_root}");
    }
}

#[test]
fn no_notes_to_self_and_no_debug_output() {
    // put together, so that this file does not name what it forbids
    let words: Vec<String> =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["db", "g!("], ["to", "do!("], ["unimple", "mented!("]]
            .map(|parts| parts.concat())
            .to_vec();
    let mut found = Vec::new();
    for folder in ["src", "ring", "proxy", "admin", "examples", "tests"] {
        for (path, text) in sources(folder) {
            for (number, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(word.as_str())) {
                    found.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    none("finish it or write it down where it is tracked", &found);
}

#[test]
fn no_source_file_is_longer_than_can_be_read_at_a_sitting() {
    let mut found = Vec::new();
    for folder in ["src", "ring/src", "proxy/src", "admin/src", "tests", "examples"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            if lines > LONGEST_FILE {
                found.push(format!("{path}: {lines} lines"));
            }
        }
    }
    none(&format!("more than {LONGEST_FILE} lines"), &found);
}

#[test]
fn every_source_file_says_what_lives_in_it() {
    let mut found = Vec::new();
    for folder in ["src", "ring/src", "proxy/src", "admin/src", "tests"] {
        for (path, text) in sources(folder) {
            if !text.starts_with("//!") && !is_test(&path) {
                found.push(path);
            }
        }
    }
    none("no head", &found);
}

/// Texts between backticks on one line.
fn quoted(text: &str) -> Vec<&str> {
    let outside_blocks = text.split("```").step_by(2);
    outside_blocks.flat_map(|part| part.lines()).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

fn looks_like_a_path(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c));
    let known_end = [".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".py", ".tsv", "/"]
        .iter()
        .any(|end| text.ends_with(end));
    plain && known_end && !text.starts_with(['/', '.', '-'])
}

#[test]
fn paths_named_in_architecture_exist() {
    let text = read("ARCHITECTURE.md");
    let paths: BTreeSet<&str> = quoted(&text).into_iter().filter(|text| looks_like_a_path(text)).collect();
    assert!(paths.len() >= 5, "a map names places: {paths:?}");
    let missing: Vec<String> =
        paths.iter().filter(|path| !root().join(path).exists()).map(ToString::to_string).collect();
    none("ARCHITECTURE.md names what is not there", &missing);
}

#[test]
fn architecture_names_every_crate() {
    let text = read("ARCHITECTURE.md");
    for part in ["ring/", "proxy/", "admin/", "src/", "tests/"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn the_table_of_commands_in_the_readme_is_the_table_in_the_code() {
    let text = read("README.md");
    let (begin, end) = ("<!-- commands:begin -->", "<!-- commands:end -->");
    let inside =
        text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(inside, _)| inside.trim());
    let expected = ringway_proxy::command::support_table_markdown();
    if std::env::var_os("RINGWAY_WRITE").is_some() {
        let inside = inside.expect("the marks of the table");
        std::fs::write(root().join("README.md"), text.replace(inside, expected.trim())).expect("written");
        return;
    }
    assert!(
        inside == Some(expected.trim()),
        "RINGWAY_WRITE=1 cargo test --test e2e the_table_of_commands  puts this between {begin} and {end} in \
         README.md:\n{}",
        expected.trim()
    );
}
