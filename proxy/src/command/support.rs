//! The table of commands in the README, made from the rows so that it cannot lie.

use std::fmt::Write;

use super::route::{Route, SubscriptionKind};
use super::row::{Command, Group, Keys};
use super::table::top_level;

/// One line per group and way: the group, its commands that go this way, the way. A test compares the README with it.
pub fn support_table_markdown() -> String {
    let mut text = String::from("| Group | Commands | How |\n|---|---|---|\n");
    let mut groups: Vec<Group> = Vec::new();
    for command in top_level() {
        if !groups.contains(&command.group) {
            groups.push(command.group);
        }
    }
    for group in groups {
        for (way, names) in ways_of(group) {
            let _ = writeln!(text, "| {} | {} | {way} |", group.name(), names.join(", "));
        }
    }
    text
}

/// The commands of a group by the way they go: what works first, each way once, names in the order of the table.
fn ways_of(group: Group) -> Vec<(String, Vec<String>)> {
    let mut ways: Vec<(u8, String, Vec<String>)> = Vec::new();
    for command in top_level().iter().filter(|command| command.group == group) {
        for (rank, way, name) in lines_of(command) {
            match ways.iter_mut().find(|(_, known, _)| *known == way) {
                Some((_, _, names)) => names.push(name),
                None => ways.push((rank, way, vec![name])),
            }
        }
    }
    ways.sort_by_key(|(rank, _, _)| *rank);
    ways.into_iter().map(|(_, way, names)| (way, names)).collect()
}

/// One entry for a plain command or for a container all of whose subcommands are refused alike, else one for each.
fn lines_of(command: &Command) -> Vec<(u8, String, String)> {
    let mut lines = Vec::new();
    if !command.is_container() || command.arity == -1 {
        lines.push((rank(command.route), way_of(command), shown(command)));
    }
    if let Some(first) = command.subcommands.first() {
        let alike = command.subcommands.iter().all(|row| row.route == first.route);
        if alike && !command.is_supported() {
            lines.push((rank(first.route), way(first.route), format!("{} …", command.name.to_uppercase())));
        } else {
            lines.extend(command.subcommands.iter().map(|row| (rank(row.route), way(row.route), shown(row))));
        }
    }
    lines
}

fn rank(route: Route) -> u8 {
    match route {
        Route::Key => 0,
        Route::Waiting => 1,
        Route::Replicas | Route::Running => 3,
        Route::Split(_) => 2,
        Route::AllNodes(_) => 3,
        Route::Scan => 4,
        Route::Transaction(_) => 5,
        Route::Publish(_) => 6,
        Route::Subscribe(_) | Route::Unsubscribe(_) => 7,
        Route::Local(_) | Route::Client(_) | Route::Acl(_) => 8,
        Route::Refused(_) => 9,
    }
}

fn way_of(command: &Command) -> String {
    match command.computed {
        Some(_) => format!("{}; computed over nodes when `multi_key: emulate`", way(command.route)),
        None => way(command.route),
    }
}

/// Where a command goes, in words.
pub(crate) fn way(route: Route) -> String {
    match route {
        Route::Key => "to the key's node".into(),
        Route::Waiting => "to the key's node, over a connection of the client's own while it waits".into(),
        Route::Split(_) => "split and joined".into(),
        Route::Replicas => "on all nodes, over connections of the client's own; the least answer".into(),
        Route::Running => "on all nodes, also those that a script keeps busy".into(),
        Route::Publish(_) => "to the channel's node".into(),
        Route::Subscribe(SubscriptionKind::Shard) | Route::Unsubscribe(SubscriptionKind::Shard) => {
            "listens to the channel's node".into()
        }
        Route::Subscribe(_) | Route::Unsubscribe(_) => "listens to all nodes".into(),
        Route::AllNodes(_) => "on all nodes, joined".into(),
        Route::Scan => "node after node".into(),
        Route::Transaction(_) => "as one block on the node of its keys".into(),
        Route::Local(_) | Route::Client(_) | Route::Acl(_) => "answered by Ringway".into(),
        Route::Refused(rule) => format!("refused: {rule}"),
    }
}

/// The name as users write it, with what limits it: a form that is refused, a version newer than Redis 7.0.
fn shown(command: &Command) -> String {
    let mut text = command.full_name.to_uppercase().replace('|', " ");
    if matches!((command.route, command.keys), (Route::Key, Keys::Sort { .. })) {
        text.push_str(" (patterns with a hash tag)");
    }
    if command.guarded.is_some() {
        text.push_str(" (when allowed)");
    }
    if let Some(version) = newer_than_7_0(command.since) {
        let _ = write!(text, " ({version})");
    }
    text
}

/// `7.4` for `7.4.0`, nothing up to `7.0.x`.
fn newer_than_7_0(since: &str) -> Option<&str> {
    let (version, _) = since.rsplit_once('.')?;
    let (major, minor) = version.split_once('.')?;
    let number = (major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?);
    (number > (7, 0)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_works_is_named_and_every_refusal_has_a_reason() {
        let text = support_table_markdown();
        for row in super::super::table::all().filter(|row| row.is_supported() && !row.is_container()) {
            let name = row.full_name.to_uppercase().replace('|', " ");
            assert!(text.contains(&name), "{name}");
        }
        assert!(text.lines().skip(2).all(|line| line.matches('|').count() == 4), "{text}");
        assert!(text.contains("CONFIG SET (when allowed)") && text.contains("| SCAN | node after node |"));
        assert!(text.contains("HGETEX (8.0)") && text.contains("CLUSTER …"));
        assert_eq!(newer_than_7_0("7.0.5"), None);
    }
}
