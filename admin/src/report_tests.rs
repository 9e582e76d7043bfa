//! The report's promise: names, order, digits, and that its figures add up.

use std::sync::Arc;

use super::*;
use ringway_proxy::settings::{NodeSpec, TopologySpec};
use ringway_proxy::topology::Topology;
use ringway_ring::RingConfig;

fn topology(epoch: u64, names: &[&str]) -> Arc<Topology> {
    let nodes =
        names.iter().enumerate().map(|(at, name)| NodeSpec::new(*name, format!("h:{}", at + 1))).collect();
    Arc::new(Topology::build(epoch, TopologySpec { ring: RingConfig::default(), nodes }).unwrap())
}

fn change(before: &[&str], after: &[&str]) -> Change {
    let (from, to) = (topology(1, before), topology(2, after));
    Change { diff: ringway_ring::diff(from.ring(), to.ring()), from, to }
}

#[test]
fn a_join_takes_only_for_itself_and_the_figures_add_up() {
    let report = MovementReport::from(&change(&["a", "b", "c"], &["a", "b", "c", "d"]));
    assert!((report.moved_percent - 25.0).abs() < 3.0, "{}", report.moved_percent);
    assert_eq!(report.minimum_percent, 25.0);
    assert!(report.exact && report.flows.iter().all(|flow| flow.to == "d"));
    let flows: f64 = report.flows.iter().map(|flow| flow.percent).sum();
    assert!((flows - report.moved_percent).abs() < 0.001);
    for side in [|node: &NodeReport| node.before_percent, |node: &NodeReport| node.after_percent] {
        assert!((report.nodes.iter().map(side).sum::<f64>() - 100.0).abs() < 0.001);
    }
    assert_eq!(report.nodes[3].before_percent, 0.0);
}

#[test]
fn the_json_is_the_promised_one() {
    let mut report = MovementReport::from(&change(&["a", "b"], &["a"]));
    assert!(!serde_json::to_string(&report).unwrap().contains("sample"));
    report.sample = Some(SampleReport {
        keys: 10,
        moved: 4,
        moved_percent: 40.0,
        flows: vec![KeyFlow { from: "b".into(), to: "a".into(), keys: 4 }],
        strays: 0,
    });
    let json = serde_json::to_string(&report).unwrap();
    let mut at = 0;
    for field in [
        "\"from_epoch\":1",
        "\"to_epoch\":2",
        "\"moved_percent\":",
        "\"minimum_percent\":50.0",
        "\"flows\":[{\"from\":\"b\",\"to\":\"a\",\"percent\":",
        "\"nodes\":[{\"name\":\"a\",\"before_percent\":",
        "\"after_percent\":100.0",
        "{\"name\":\"b\",",
        "\"after_percent\":0.0",
        "\"sample\":{\"keys\":10,\"moved\":4,\"moved_percent\":40.0,\"flows\":[{\"from\":\"b\",\"to\":\"a\",\"keys\":4}]",
    ] {
        at += json[at..].find(field).unwrap_or_else(|| panic!("{field} not after byte {at} of {json}"));
    }
}

#[test]
fn percentages_keep_digits_that_mean_something() {
    for (part, expected) in [
        (0.248_712_345, 24.8712),
        (1.0, 100.0),
        (0.0, 0.0),
        (1.0 / 3.0, 33.3333),
        (0.000_012_345_6, 0.00123),
        (1e-9, 1e-7),
        (f64::NAN, 0.0),
    ] {
        assert!((percent(part) - expected).abs() < 1e-12, "{part}: {}", percent(part));
    }
    assert!(percent(f64::MIN_POSITIVE).is_finite());
}

#[test]
fn the_text_fits_a_terminal() {
    let text = human(&MovementReport::from(&change(&["cache-1", "cache-2"], &["cache-1", "cache-3"])));
    assert!(text.starts_with("epoch 1 -> 2: "), "{text}");
    assert!(text.contains("cache-3") && text.contains("joins") && text.contains("leaves"), "{text}");
    let names: Vec<String> = (0..40).map(|at| format!("n{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = human(&MovementReport::from(&change(&names[..39], &names)));
    assert!(long.contains("and 19 more"), "{long}");
    assert!(long.lines().all(|line| line.chars().count() <= 80), "{long}");
}
