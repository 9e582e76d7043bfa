//! The table beside the ring: one row per node, with bars.

use super::canvas::{Anchor, Canvas, TOP, WIDTH, cut};
use super::palette;

/// Where the table begins.
const LEFT: f64 = 830.0;
/// More rows are summed up in one.
const MOST_ROWS: usize = 200;

/// One node.
pub(super) struct Row {
    /// Place in the palette.
    pub(super) colour: usize,
    /// The node's name.
    pub(super) name: String,
    /// Three short columns, already written.
    pub(super) columns: [String; 3],
    /// Length of the bar, as a share of the ring.
    pub(super) bar: f64,
    /// Where the mark on the bar stands.
    pub(super) mark: f64,
}

/// Draws headings and rows; answers where the table ends.
pub(super) fn draw(canvas: &mut Canvas, headings: [&str; 3], legend: &str, rows: &[Row]) -> f64 {
    let (step, size) = match rows.len() {
        0..=12 => (30.0, 15.0),
        13..=28 => (22.0, 13.0),
        _ => (15.0, 11.0),
    };
    let columns = [LEFT + 232.0, LEFT + 306.0, LEFT + 368.0];
    let bars = LEFT + 382.0;
    let mut y = TOP + 22.0;
    canvas.text((LEFT + 26.0, y), 12.0, Anchor::Start, "#555", "node");
    for (x, heading) in columns.into_iter().zip(headings) {
        canvas.text((x, y), 12.0, Anchor::End, "#555", heading);
    }
    canvas.text((bars, y), 12.0, Anchor::Start, "#555", legend);
    let largest = rows.iter().map(|row| row.bar.max(row.mark)).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - 20.0 - bars) / largest;
    for row in rows.iter().take(MOST_ROWS) {
        y += step;
        let colour = palette::colour(row.colour);
        let bar_top = y - size * 0.85;
        canvas.rect((LEFT, bar_top), (18.0, size), &colour, "stroke=\"#333\" stroke-width=\"0.5\"");
        canvas.text(
            (LEFT + 26.0, y),
            size,
            Anchor::Start,
            "#111",
            &cut(&row.name, if size > 12.0 { 18 } else { 24 }),
        );
        for (x, text) in columns.into_iter().zip(&row.columns) {
            canvas.text((x, y), size, Anchor::End, "#111", text);
        }
        canvas.rect(
            (bars, bar_top),
            ((row.bar * scale).max(0.5), size),
            &colour,
            "stroke=\"#333\" stroke-width=\"0.5\"",
        );
        canvas.rect((bars + row.mark * scale - 1.0, bar_top - 2.0), (2.0, size + 4.0), "#111", "");
    }
    if rows.len() > MOST_ROWS {
        y += step;
        canvas.text(
            (LEFT + 26.0, y),
            size,
            Anchor::Start,
            "#555",
            &format!("and {} more", rows.len() - MOST_ROWS),
        );
    }
    canvas.reach(y + 30.0);
    y
}

/// Lines of plain text below the table.
pub(super) fn lines(canvas: &mut Canvas, mut y: f64, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    y += 44.0;
    canvas.heading((LEFT, y), 15.0, heading);
    for line in lines {
        y += 21.0;
        canvas.text((LEFT, y), 13.0, Anchor::Start, "#111", line);
    }
    canvas.reach(y + 30.0);
}
