//! What must hold for any configuration file: reading never panics, every problem has a line of the file and one line of
//! words, and what is accepted is consistent.
//!
//! Shared by the libFuzzer target and by the smoke test of the program (`src/main.rs`).

use std::collections::HashSet;
use std::path::Path;

use ringway_proxy::topology::{NodeAddress, Topology};

use crate::config::{Config, Secrets, parse};

/// More points than this take seconds to build, which is no mistake of the reader.
const MOST_POINTS: u64 = 1 << 20;

/// Any bytes as a configuration file.
pub fn config(data: &[u8]) {
    // other bytes are refused before they are read as YAML
    let Ok(text) = std::str::from_utf8(data) else { return };
    // passwords in files of this machine are not touched
    let read = || parse(text, &Secrets::FormOnly, Path::new(""));
    match read() {
        Ok(config) => {
            consistent(&config);
            let again = read().expect("the same text is accepted again");
            assert_eq!(format!("{config:?}"), format!("{again:?}"), "read twice");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in &problems {
                // YAML takes a carriage return for the end of a line as well
                let lines = text.matches(['\n', '\r']).count() + 1;
                assert!(
                    (1..=lines).contains(&problem.line),
                    "line {} of {lines}: {}",
                    problem.line,
                    problem.text
                );
                assert!(
                    !problem.text.is_empty() && problem.text.len() < 2000,
                    "{} bytes",
                    problem.text.len()
                );
                assert!(!problem.text.contains(['\n', '\r']), "more than a line: {:?}", problem.text);
            }
        }
    }
}

fn consistent(config: &Config) {
    let settings = &config.settings;
    let nodes = &settings.topology.nodes;
    assert!(!nodes.is_empty());
    let names: HashSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names.len(), nodes.len(), "names are unique");
    assert!(nodes.iter().all(|node| (1..=1000).contains(&node.weight)));
    assert!(nodes.iter().all(|node| NodeAddress::parse(&node.address).is_some()));
    let limits = &settings.limits;
    assert!(limits.clients > 0 && limits.memory_bytes > 0 && limits.databases > 0);
    assert!(limits.reply_soft_bytes <= limits.reply_hard_bytes);
    assert!(!settings.timeouts.connect.is_zero() && !settings.timeouts.operation.is_zero());
    assert!(config.admin.read_token.is_none() || config.admin.token.is_some());
    let points: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
    if points * 1024 <= MOST_POINTS {
        assert!(Topology::build(1, settings.topology.clone()).is_ok(), "the ring can be built");
    }
}
