//! The movement report: what a change of topology moves, exactly, and how it compares with the least possible.
//!
//! Field names and their order are a promise to scripts. The same report is answered over HTTP and printed by
//! `ringway plan`.

use std::collections::HashMap;
use std::fmt::Write;

use ringway_proxy::control::Change;
use serde::Serialize;

/// What a change moves, or would move. Percentages are of the hash space, 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MovementReport {
    /// The epoch before.
    pub from_epoch: u64,
    /// The epoch after.
    pub to_epoch: u64,
    /// The part of the hash space whose owner changes.
    pub moved_percent: f64,
    /// The least that any placement could move for these weights.
    pub minimum_percent: f64,
    /// From whom to whom, the largest first.
    pub flows: Vec<FlowReport>,
    /// Every node of either side: those after the change in their order, then those that left.
    pub nodes: Vec<NodeReport>,
    /// False when `moved_percent` and `flows` are an estimate (standard error at most 0.1): the two rings hash keys
    /// differently, or cannot be counted. Never so for a change of nodes with the default placement.
    pub exact: bool,
    /// The same for keys that the nodes really hold; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleReport>,
}

/// A part of the hash space that changes its owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowReport {
    /// Who owns it before.
    pub from: String,
    /// Who owns it after.
    pub to: String,
    /// How much of the whole hash space.
    pub percent: f64,
}

/// What one node owns before and after; 0 where it does not exist.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    /// The node.
    pub name: String,
    /// Its part of the hash space before.
    pub before_percent: f64,
    /// Its part of the hash space after.
    pub after_percent: f64,
}

/// Keys really held by the nodes, and where they would go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleReport {
    /// Keys that were looked at.
    pub keys: u64,
    /// Those that the new ring gives to another node than the one that holds them.
    pub moved: u64,
    /// `moved` of `keys`, in percent; 0 when there are no keys.
    pub moved_percent: f64,
    /// From which node to which, the most keys first.
    pub flows: Vec<KeyFlow>,
    /// Keys that lie on a node which the current ring does not ask for them: left over from earlier changes. They are
    /// among `keys`, and among `moved` unless the new ring asks that very node.
    pub strays: u64,
}

/// Keys that would change their node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyFlow {
    /// Who holds them.
    pub from: String,
    /// Who would own them.
    pub to: String,
    /// How many of the sample.
    pub keys: u64,
}

/// A part of 1 as a percentage with digits that mean something: four decimals, and three significant digits where
/// four decimals would leave fewer (a thousand nodes exchange such small parts).
pub(crate) fn percent(part: f64) -> f64 {
    let percent = part * 100.0;
    if !percent.is_finite() || percent == 0.0 {
        return 0.0;
    }
    let magnitude = percent.abs().log10().floor() as i32;
    let decimals = (2 - magnitude).clamp(4, 15);
    let factor = 10f64.powi(decimals);
    (percent * factor).round() / factor
}

impl From<&Change> for MovementReport {
    fn from(change: &Change) -> Self {
        let diff = &change.diff;
        Self {
            from_epoch: change.from.epoch(),
            to_epoch: change.to.epoch(),
            moved_percent: percent(diff.moved),
            minimum_percent: percent(diff.minimum),
            flows: diff
                .flows
                .iter()
                .map(|flow| FlowReport {
                    from: flow.from.clone(),
                    to: flow.to.clone(),
                    percent: percent(flow.share),
                })
                .collect(),
            nodes: nodes(&diff.before, &diff.after),
            exact: diff.exact,
            sample: None,
        }
    }
}

fn nodes(before: &[(String, f64)], after: &[(String, f64)]) -> Vec<NodeReport> {
    let old: HashMap<&str, f64> = before.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    let new: HashMap<&str, f64> = after.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    let left = before.iter().filter(|(name, _)| !new.contains_key(name.as_str()));
    let of = |shares: &HashMap<&str, f64>, name: &str| percent(shares.get(name).copied().unwrap_or(0.0));
    let row = |(name, _): &(String, f64)| NodeReport {
        name: name.clone(),
        before_percent: of(&old, name),
        after_percent: of(&new, name),
    };
    after.iter().chain(left).map(row).collect()
}

/// The report as a short text for a terminal: one line of summary, then the nodes, then the flows.
pub fn human(report: &MovementReport) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = write_human(&mut text, report);
    text
}

/// Flows that the text shows; the rest is summed up in one line.
const FLOWS_SHOWN: usize = 20;

fn write_human(text: &mut String, report: &MovementReport) -> std::fmt::Result {
    let about = if report.exact { "" } else { "about " };
    writeln!(
        text,
        "epoch {} -> {}: {about}{:.2} % of the keys move (least possible {:.2} %)",
        report.from_epoch, report.to_epoch, report.moved_percent, report.minimum_percent
    )?;
    let names = report.nodes.iter().map(|node| node.name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    writeln!(text, "\n  {:width$}  {:>9}  {:>9}", "node", "before", "after")?;
    for node in &report.nodes {
        let change = match (node.before_percent, node.after_percent) {
            (0.0, after) if after > 0.0 => "  joins",
            (before, 0.0) if before > 0.0 => "  leaves",
            _ => "",
        };
        let (before, after) = (node.before_percent, node.after_percent);
        writeln!(text, "  {:width$}  {before:>7.2} %  {after:>7.2} %{change}", node.name)?;
    }
    if !report.flows.is_empty() {
        writeln!(text)?;
    }
    for flow in report.flows.iter().take(FLOWS_SHOWN) {
        writeln!(text, "  {:width$} -> {:width$}  {:>7.2} %", flow.from, flow.to, flow.percent)?;
    }
    if let Some(rest) = report.flows.len().checked_sub(FLOWS_SHOWN).filter(|rest| *rest > 0) {
        let percent: f64 = report.flows[FLOWS_SHOWN..].iter().map(|flow| flow.percent).sum();
        writeln!(text, "  and {rest} more, together {percent:.2} %")?;
    }
    if let Some(sample) = &report.sample {
        let (keys, moved, percent) = (sample.keys, sample.moved, sample.moved_percent);
        writeln!(
            text,
            "\n  of {keys} keys sampled {moved} would move ({percent:.2} %), {} are strays",
            sample.strays
        )?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
