//! The picture of a change: what moves, and from whom to whom.
//!
//! Each node's segment holds what it keeps, what it gives and what it takes; the length of a ribbon's ends is the part
//! of the hash space that moves, its colour that of the new owner.

use std::collections::HashMap;

use ringway_ring::{Diff, Ring, diff};

use super::canvas::{Anchor, Canvas, SQUARE, TOP, annulus, cut, ribbon};
use super::table::{self, Row};
use super::{describe, palette, runs};

/// Radii of the outer ring: the hash space.
const SPACE: (f64, f64) = (372.0, 392.0);
/// Radii of the nodes' segments.
const NODES: (f64, f64) = (236.0, 258.0);
/// Smaller segments than this part of a turn have no room for a name.
const NAMEABLE: f64 = 0.0065;
/// More ribbons than this are one smear.
const MOST_RIBBONS: usize = 400;
/// More stretches that move are drawn in pieces of even size.
const MOST_STRETCHES: usize = 6000;
/// Flows that the table names.
const MOST_LISTED: usize = 12;

/// A node before and after, as parts of the hash space.
struct Node {
    name: String,
    before: f64,
    after: f64,
    gives: f64,
    takes: f64,
}

/// Draws what changes between two rings.
pub(crate) fn change(before: &Ring, after: &Ring) -> String {
    let diff = diff(before, after);
    let nodes = nodes(&diff);
    let places: HashMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let about = if diff.exact { "" } else { "about " };
    let title = format!("{about}{:.2} % of the key space moves", diff.moved * 100.0);
    let least = format!("the least that any placement could move is {:.2} %", diff.minimum * 100.0);
    let mut canvas = Canvas::new();
    canvas.heading((24.0, 40.0), 24.0, &title);
    let line = format!("{least} · {} → {}", describe(before), describe(after));
    canvas.text((24.0, 62.0), 14.0, Anchor::Start, "#555", &line);
    let space_shown = space(&mut canvas, &diff, before, after, &places);
    chords(&mut canvas, &diff, &nodes, &places);
    let end = table(&mut canvas, &nodes);
    table::lines(&mut canvas, end, "what moves", &listed(&diff));
    foot(&mut canvas, space_shown, diff.flows.len());
    canvas.finish(&title, &least)
}

/// Nodes of both sides: those before in their order, then those that join.
fn nodes(diff: &Diff) -> Vec<Node> {
    let part = |list: &[(String, f64)], name: &str| {
        list.iter().find(|(other, _)| other == name).map_or(0.0, |(_, share)| *share)
    };
    let joined = diff.after.iter().filter(|(name, _)| !diff.before.iter().any(|(other, _)| other == name));
    diff.before
        .iter()
        .chain(joined)
        .map(|(name, _)| Node {
            name: name.clone(),
            before: part(&diff.before, name),
            after: part(&diff.after, name),
            gives: diff.flows.iter().filter(|flow| flow.from == *name).map(|flow| flow.share).sum(),
            takes: diff.flows.iter().filter(|flow| flow.to == *name).map(|flow| flow.share).sum(),
        })
        .collect()
}

/// The stretches that move, in the colour of their new owner. Only rings that hash keys alike share a hash space.
fn space(
    canvas: &mut Canvas,
    diff: &Diff,
    before: &Ring,
    after: &Ring,
    places: &HashMap<&str, usize>,
) -> bool {
    let circle = |ring: &Ring| ring.config().placement.name() != "modula";
    if !(diff.exact && circle(before) && circle(after)) {
        return false;
    }
    let stretches = overlay(before, after, places);
    // a small change would vanish in pieces of even size; as it is, each stretch is a line of its own
    let few = stretches.iter().filter(|(_, _, owner)| owner.is_some()).count() <= MOST_STRETCHES;
    let runs = if few { stretches } else { runs(stretches.into_iter()) };
    canvas.path(&annulus(0.0, 1.0, SPACE.0, SPACE.1), "#e4e4e4", "", "stays where it is");
    let mut named: Vec<(&&str, &usize)> = places.iter().collect();
    named.sort_by_key(|(_, at)| **at);
    for (name, at) in named {
        let moved = outline(&runs, *at);
        if !moved.is_empty() {
            let more = format!("stroke=\"{}\" stroke-width=\"0.12\"", palette::edge(*at));
            canvas.path(&moved, &palette::colour(*at), &more, &format!("moves to {name}"));
        }
    }
    true
}

fn outline(runs: &[(f64, f64, Option<usize>)], wanted: usize) -> String {
    let own = runs.iter().filter(|(_, _, owner)| *owner == Some(wanted));
    own.map(|(start, end, _)| annulus(*start, *end, SPACE.0, SPACE.1)).collect()
}

/// Both rings laid over each other: `(start, end, new owner if it changes)`.
fn overlay(before: &Ring, after: &Ring, places: &HashMap<&str, usize>) -> Vec<(f64, f64, Option<usize>)> {
    let place = |ring: &Ring, member: usize| places.get(ring.members()[member].name.as_str()).copied();
    let (mut old, mut new) = (before.arcs().peekable(), after.arcs().peekable());
    let mut stretches = Vec::new();
    let mut from = 0.0;
    while let (Some(left), Some(right)) = (old.peek(), new.peek()) {
        let (left_end, right_end) = (left.start + left.len, right.start + right.len);
        let to = left_end.min(right_end);
        let (was, is) = (place(before, left.member), place(after, right.member));
        stretches.push((from, to, if was == is { None } else { is }));
        if left_end <= to {
            old.next();
        }
        if right_end <= to {
            new.next();
        }
        from = to;
    }
    stretches
}

fn chords(canvas: &mut Canvas, diff: &Diff, nodes: &[Node], places: &HashMap<&str, usize>) {
    // kept + given + taken of all nodes
    let total: f64 = nodes.iter().map(|node| node.before + node.takes).sum::<f64>().max(f64::MIN_POSITIVE);
    let gap = if nodes.len() > 1 { (0.08 / nodes.len() as f64).min(0.008) } else { 0.0 };
    let scale = (1.0 - gap * nodes.len() as f64) / total;
    let mut cursors = Vec::with_capacity(nodes.len());
    let mut start = 0.0;
    for (at, node) in nodes.iter().enumerate() {
        let length = (node.before + node.takes) * scale;
        segment(canvas, at, node, start, length);
        let kept = (node.before - node.gives).max(0.0) * scale;
        cursors.push((start + kept, start + kept + node.gives * scale));
        start += length + gap;
    }
    for flow in diff.flows.iter().take(MOST_RIBBONS) {
        let (Some(&from), Some(&to)) = (places.get(flow.from.as_str()), places.get(flow.to.as_str())) else {
            continue;
        };
        let width = flow.share * scale;
        let (leaves, enters) = (cursors[from].0, cursors[to].1);
        cursors[from].0 += width;
        cursors[to].1 += width;
        let shape = ribbon((leaves, leaves + width), (enters, enters + width), NODES.0 - 4.0);
        let tooltip = format!("{} → {}: {:.2} %", flow.from, flow.to, flow.share * 100.0);
        let more = format!("fill-opacity=\"0.75\" stroke=\"{}\" stroke-width=\"0.7\"", palette::edge(to));
        canvas.path(&shape, &palette::colour(to), &more, &tooltip);
    }
}

fn segment(canvas: &mut Canvas, at: usize, node: &Node, start: f64, length: f64) {
    let tooltip =
        format!("{}: {:.2} % before, {:.2} % after", node.name, node.before * 100.0, node.after * 100.0);
    canvas.path(&annulus(start, start + length, NODES.0, NODES.1), &palette::colour(at), "", &tooltip);
    if length >= NAMEABLE {
        let size = (length * 800.0).clamp(9.0, 14.0);
        let room = (SPACE.0 - NODES.1 - 16.0) / (size * 0.56);
        canvas.radial_text(
            start + length / 2.0,
            NODES.1 + 7.0,
            size,
            true,
            "#111",
            &cut(&node.name, room as usize),
        );
    }
}

fn table(canvas: &mut Canvas, nodes: &[Node]) -> f64 {
    let row = |(at, node): (usize, &Node)| Row {
        colour: at,
        name: node.name.clone(),
        columns: [
            format!("{:.2} %", node.before * 100.0),
            format!("{:.2} %", node.after * 100.0),
            format!("{:+.2}", (node.after - node.before) * 100.0),
        ],
        bar: node.after,
        mark: node.before,
    };
    let rows: Vec<Row> = nodes.iter().enumerate().map(row).collect();
    table::draw(canvas, ["before", "after", "points"], "after (mark: before)", &rows)
}

fn listed(diff: &Diff) -> Vec<String> {
    if diff.flows.is_empty() {
        return vec!["nothing".to_owned()];
    }
    let flow = |flow: &ringway_ring::Flow| {
        format!("{} → {}: {:.2} %", cut(&flow.from, 24), cut(&flow.to, 24), flow.share * 100.0)
    };
    let mut lines: Vec<String> = diff.flows.iter().take(MOST_LISTED).map(flow).collect();
    if diff.flows.len() > MOST_LISTED {
        let rest: f64 = diff.flows[MOST_LISTED..].iter().map(|flow| flow.share).sum();
        lines.push(format!("and {} more, together {:.2} %", diff.flows.len() - MOST_LISTED, rest * 100.0));
    }
    lines
}

fn foot(canvas: &mut Canvas, space_shown: bool, flows: usize) {
    let mut note =
        "Ribbons: what moves, as wide as its part of the hash space, in the colour of the new owner."
            .to_owned();
    if space_shown {
        note.push_str(" Outer ring: where it lies; grey stays.");
    }
    if flows > MOST_RIBBONS {
        note.push_str(&format!(" {} smaller ones are not drawn.", flows - MOST_RIBBONS));
    }
    let y = TOP + SQUARE + 8.0;
    canvas.text((24.0, y), 12.0, Anchor::Start, "#555", &note);
    canvas.reach(y + 20.0);
}
