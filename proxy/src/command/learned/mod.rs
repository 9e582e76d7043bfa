//! Commands that the table does not know, learned from what nodes say of themselves: modules, newer servers.
//!
//! ```text
//!   COMMAND of each node ──parse──► Told, by name ──agree──► a row, or why it is refused
//! ```
//! They are looked up only when the table has no such name. A command is supported when all nodes that have told know it
//! alike and its key specifications find every key; no frame is forwarded on a guess. What nodes tell is bounded in
//! number and bytes, and so is what is kept of it for ever (law I6).

mod parse;
mod positions;
mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::route::Route;
use super::row::Command;
use super::table;
use crate::resp::Args;
use parse::{Known, Told};
pub(super) use positions::{key_uses, positions};

/// Longest name of a command, in bytes.
const NAME_BYTES: usize = 64;

/// A name that the table does not have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Learned {
    /// All nodes know it alike.
    Row(&'static Command),
    /// Known and not run: the rule, in words that follow "refused:".
    Refused(Arc<str>),
}

/// All that the nodes of the topology have told. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct LearnedCommands {
    told: Mutex<AllTold>,
    agreed: ArcSwap<Agreed>,
}

/// What each node has told, by its name.
#[derive(Debug, Default)]
struct AllTold {
    known: BTreeMap<String, Known>,
    /// All those nodes have left, and none that came has told yet: what they told holds until one has. Otherwise nobody
    /// knew a module's commands for a moment after all nodes were replaced at once.
    is_of_the_past: bool,
}

/// What follows from it.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    commands: HashMap<String, Learned>,
    /// Names before a bar.
    containers: HashSet<String>,
    /// Of the table's rows that nodes run, those which one of the nodes does not have.
    lacking: HashSet<&'static str>,
}

impl LearnedCommands {
    /// A node's reply to COMMAND. Returns how many commands beyond the table it tells.
    ///
    /// # Errors
    /// What came is no such reply.
    pub(crate) fn told(&self, node: &str, reply: &[u8]) -> Result<usize, String> {
        let known = parse::parse(reply)?;
        let count = known.beyond.len();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut told.is_of_the_past) {
            told.known.clear();
        }
        told.known.insert(node.to_owned(), known);
        self.agreed.store(Arc::new(Agreed::of(&told.known)));
        Ok(count)
    }

    /// Forgets what nodes told that have left, as soon as one that stays has told.
    pub(crate) fn retain(&self, stays: impl Fn(&str) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.known.len();
        told.is_of_the_past = !told.known.keys().any(|node| stays(node));
        if told.is_of_the_past {
            return;
        }
        told.known.retain(|node, _| stays(node));
        if told.known.len() != before {
            self.agreed.store(Arc::new(Agreed::of(&told.known)));
        }
    }

    /// The row or the refusal of a request for which the table has no row.
    pub(crate) fn find(&self, args: &Args) -> Option<Learned> {
        let agreed = self.agreed.load();
        if agreed.commands.is_empty() {
            return None;
        }
        let lower = |text: &[u8]| {
            let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= NAME_BYTES)?;
            Some(text.to_ascii_lowercase())
        };
        let name = lower(args.get(0)?)?;
        if let Some(found) = agreed.commands.get(&name) {
            return Some(found.clone());
        }
        let below = args.get(1).filter(|_| agreed.containers.contains(&name))?;
        agreed.commands.get(&format!("{name}|{}", lower(below)?)).cloned()
    }

    /// Whether a node that has told does not have this row of the table, which it would run.
    pub(crate) fn lacks(&self, row: &Command) -> bool {
        self.agreed.load().lacking.contains(row.full_name)
    }

    /// Those that run, by name.
    pub(crate) fn rows(&self) -> Vec<&'static Command> {
        let row = |learned| if let Learned::Row(row) = learned { Some(row) } else { None };
        self.all().into_values().filter_map(row).collect()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, Learned> {
        self.agreed.load().commands.iter().map(|(name, learned)| (name.clone(), learned.clone())).collect()
    }
}

impl Agreed {
    fn of(told: &BTreeMap<String, Known>) -> Self {
        let mut agreed = Self::default();
        // one that tells of nothing keeps it to itself
        for known in told.values().filter(|known| !known.of_table.is_empty()) {
            let lacks = |row: &&Command| known.lacks(row);
            agreed.lacking.extend(run_by_nodes().filter(lacks).map(|row| row.full_name));
        }
        for name in told.values().flat_map(|known| known.beyond.keys()) {
            if agreed.commands.contains_key(name) {
                continue;
            }
            agreed.commands.insert(name.clone(), agree(name, told));
            if let Some((container, _)) = name.split_once('|') {
                agreed.containers.insert(container.to_owned());
            }
        }
        agreed
    }
}

/// The rows of commands that are sent to the node of their keys, and of those that wait for replicas.
fn run_by_nodes() -> impl Iterator<Item = &'static Command> {
    let is_sent =
        |row: &&Command| matches!(row.route, Route::Key | Route::Waiting | Route::Split(_) | Route::Replicas);
    table::all().filter(is_sent)
}

fn agree(name: &str, told: &BTreeMap<String, Known>) -> Learned {
    let refused = |rule: String| Learned::Refused(rule.into());
    let mut first: Option<(&String, &Told)> = None;
    for (node, known) in told {
        match (first, known.beyond.get(name)) {
            (_, None) => return refused(format!("node '{node}' does not have it; all nodes must")),
            (None, Some(here)) => first = Some((node, here)),
            (Some((other, there)), Some(here)) if here != there => {
                return refused(format!(
                    "nodes '{other}' and '{node}' do not agree on its arguments and keys; run the same version on both"
                ));
            }
            _ => {}
        }
    }
    match first {
        Some((_, Told { refused: Some(rule), .. })) => refused((*rule).to_owned()),
        Some((_, told)) => match rows::row(name, told) {
            Some(row) => Learned::Row(row),
            None => refused("too many commands were learned from nodes since the start".into()),
        },
        None => refused("no node has it".into()),
    }
}

#[cfg(test)]
#[path = "../learned_tests.rs"]
mod tests;
