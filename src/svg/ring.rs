//! The picture of one ring.

use ringway_ring::Ring;

use super::canvas::{Anchor, CENTRE, Canvas, SQUARE, TOP, annulus, cut, polar};
use super::table::{self, Row};
use super::{describe, ideals, palette, runs};

/// Radii of the outer ring: the hash space as it lies.
const SPACE: (f64, f64) = (345.0, 385.0);
/// Radii of the inner ring: the nodes' shares.
const SHARES: (f64, f64) = (185.0, 335.0);
/// Larger segments have room for two lines across.
const ROOMY: f64 = 0.085;
/// Smaller segments than this part of a turn have no room for a name.
const NAMEABLE: f64 = 0.0078;

/// Draws the ring.
pub(crate) fn ring(ring: &Ring) -> String {
    let (shares, ideals) = (ring.shares(), ideals(ring));
    let worst = shares.iter().zip(&ideals).map(|(share, ideal)| share / ideal).fold(0.0, f64::max);
    let mut canvas = Canvas::new();
    let title = format!("Ring of {} nodes", ring.members().len());
    canvas.heading((24.0, 40.0), 24.0, &title);
    canvas.text((24.0, 62.0), 14.0, Anchor::Start, "#555", &describe(ring));
    space(&mut canvas, ring);
    segments(&mut canvas, ring, &shares);
    centre(&mut canvas, ring.members().len(), worst);
    let rows: Vec<Row> = ring
        .members()
        .iter()
        .enumerate()
        .map(|(at, member)| Row {
            colour: at,
            name: member.name.clone(),
            columns: [
                member.weight.to_string(),
                format!("{:.2} %", shares[at] * 100.0),
                format!("{:.3}", shares[at] / ideals[at]),
            ],
            bar: shares[at],
            mark: ideals[at],
        })
        .collect();
    table::draw(&mut canvas, ["weight", "share", "÷ ideal"], "share (mark: ideal)", &rows);
    let foot = TOP + SQUARE + 8.0;
    let note = "Outer ring: who owns each stretch of the hash space, from the top clockwise. Inner ring: each node's stretches put together.";
    canvas.text((24.0, foot), 12.0, Anchor::Start, "#555", note);
    canvas.reach(foot + 20.0);
    canvas.finish(&title, &format!("{}; the largest share is {worst:.3} times its ideal", describe(ring)))
}

/// One path per node holds all its stretches, so that the file stays small.
fn space(canvas: &mut Canvas, ring: &Ring) {
    let runs = runs(ring.arcs().map(|arc| (arc.start, arc.start + arc.len, arc.member)));
    for (at, member) in ring.members().iter().enumerate() {
        let own = runs.iter().filter(|(_, _, owner)| *owner == at);
        let outline: String = own.map(|(start, end, _)| annulus(*start, *end, SPACE.0, SPACE.1)).collect();
        if !outline.is_empty() {
            canvas.path(&outline, &palette::colour(at), "", &member.name);
        }
    }
}

fn segments(canvas: &mut Canvas, ring: &Ring, shares: &[f64]) {
    let mut start = 0.0;
    for (at, (member, share)) in ring.members().iter().zip(shares).enumerate() {
        let tooltip = format!("{}: {:.2} %, weight {}", member.name, share * 100.0, member.weight);
        let outline = annulus(start, start + share, SHARES.0, SHARES.1);
        canvas.path(&outline, &palette::colour(at), "stroke=\"#fff\" stroke-width=\"1.5\"", &tooltip);
        if *share >= ROOMY {
            let (x, y) = polar(start + share / 2.0, (SHARES.0 + SHARES.1) / 2.0);
            canvas.text((x, y - 4.0), 17.0, Anchor::Middle, palette::ink(at), &cut(&member.name, 15));
            canvas.text(
                (x, y + 17.0),
                17.0,
                Anchor::Middle,
                palette::ink(at),
                &format!("{:.2} %", share * 100.0),
            );
        } else if *share >= NAMEABLE {
            let size = (share * 900.0).clamp(9.0, 16.0);
            let room = (SHARES.1 - SHARES.0 - 14.0) / (size * 0.56);
            let percent = format!("{:.1} %", share * 100.0);
            let name = cut(&member.name, (room as usize).saturating_sub(percent.len() + 2).max(4));
            let label = format!("{name} {percent}");
            canvas.radial_text(start + share / 2.0, SHARES.1 - 7.0, size, false, palette::ink(at), &label);
        }
        start += share;
    }
}

fn centre(canvas: &mut Canvas, nodes: usize, worst: f64) {
    let (x, y) = CENTRE;
    let unit = if nodes == 1 { "node" } else { "nodes" };
    canvas.text((x, y - 18.0), 44.0, Anchor::Middle, "#111", &format!("{nodes} {unit}"));
    canvas.text((x, y + 16.0), 17.0, Anchor::Middle, "#333", "largest share ÷ ideal");
    canvas.text((x, y + 46.0), 26.0, Anchor::Middle, "#111", &format!("{worst:.3}"));
}
