//! Shapes and text. Angles are fractions of a turn, from the top, clockwise.

use std::f64::consts::TAU;
use std::fmt::Write as _;

/// A picture that grows by elements.
pub(super) struct Canvas {
    body: String,
    /// Height so far needed.
    height: f64,
}

/// Width of every picture: the ring, then the table.
pub(super) const WIDTH: f64 = 1360.0;
/// The ring's square.
pub(super) const SQUARE: f64 = 800.0;
/// Where the title ends and the drawing begins.
pub(super) const TOP: f64 = 70.0;
/// The ring's centre.
pub(super) const CENTRE: (f64, f64) = (SQUARE / 2.0, TOP + SQUARE / 2.0);

/// How a text stands at its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    /// An empty picture.
    pub(super) fn new() -> Self {
        Self { body: String::new(), height: TOP + SQUARE }
    }

    /// Makes room down to this line.
    pub(super) fn reach(&mut self, y: f64) {
        self.height = self.height.max(y);
    }

    /// The whole document.
    pub(super) fn finish(self, title: &str, description: &str) -> String {
        let (height, title, description) = (self.height.ceil(), escape(title), escape(description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n<title>{title}</title>\n\
             <desc>{description}</desc>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// A filled outline with a tooltip.
    pub(super) fn path(&mut self, d: &str, fill: &str, more: &str, tooltip: &str) {
        let tooltip = escape(tooltip);
        let _ = writeln!(self.body, "<path d=\"{d}\" fill=\"{fill}\" {more}><title>{tooltip}</title></path>");
    }

    /// A rectangle.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str, more: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" {more}/>"
        );
    }

    /// A line of text.
    pub(super) fn text(&mut self, (x, y): (f64, f64), size: f64, anchor: Anchor, fill: &str, text: &str) {
        let anchor = anchor.name();
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{text}</text>"
        );
    }

    /// A heading.
    pub(super) fn heading(&mut self, (x, y): (f64, f64), size: f64, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\" font-weight=\"bold\" fill=\"#111\">{text}</text>"
        );
    }

    /// Text along the ray at `turn`, from the inside outwards, never upside down.
    pub(super) fn radial_text(
        &mut self,
        turn: f64,
        radius: f64,
        size: f64,
        outwards: bool,
        fill: &str,
        text: &str,
    ) {
        let (x, y) = polar(turn, radius);
        let degrees = turn.rem_euclid(1.0) * 360.0;
        let left = degrees > 180.0;
        let rotation = if left { degrees + 90.0 } else { degrees - 90.0 };
        let anchor = if left == outwards { Anchor::End } else { Anchor::Start }.name();
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text transform=\"translate({x:.1} {y:.1}) rotate({rotation:.2})\" dy=\"0.35em\" font-size=\"{size:.1}\" \
             text-anchor=\"{anchor}\" fill=\"{fill}\">{text}</text>"
        );
    }
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// The point at an angle and a distance from the centre.
pub(super) fn polar(turn: f64, radius: f64) -> (f64, f64) {
    let angle = turn * TAU;
    (CENTRE.0 + radius * angle.sin(), CENTRE.1 - radius * angle.cos())
}

/// The outline of a piece of a ring. A whole turn is drawn as almost one: SVG cannot draw a full arc.
pub(super) fn annulus(start: f64, end: f64, inner: f64, outer: f64) -> String {
    let end = end.min(start + 0.99999);
    let large = u8::from(end - start > 0.5);
    let (a, b, c, d) = (polar(start, outer), polar(end, outer), polar(end, inner), polar(start, inner));
    format!(
        "M{:.2} {:.2}A{outer} {outer} 0 {large} 1 {:.2} {:.2}L{:.2} {:.2}A{inner} {inner} 0 {large} 0 {:.2} {:.2}Z",
        a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1
    )
}

/// The outline of a ribbon between two stretches of the circle of this radius.
pub(super) fn ribbon(from: (f64, f64), to: (f64, f64), radius: f64) -> String {
    let arc = |(start, end): (f64, f64)| {
        let (x, y) = polar(end, radius);
        format!("A{radius} {radius} 0 {} 1 {x:.2} {y:.2}", u8::from(end - start > 0.5))
    };
    let across = |start: f64, end: f64| {
        let ((bend_x, bend_y), (x, y)) = (bend(start, end, radius), polar(end, radius));
        format!("Q{bend_x:.2} {bend_y:.2} {x:.2} {y:.2}")
    };
    let (x, y) = polar(from.0, radius);
    format!("M{x:.2} {y:.2}{}{}{}{}Z", arc(from), across(from.1, to.0), arc(to), across(to.1, from.0))
}

/// Where a line between two points of a circle is drawn to: the centre for opposite ones, nearly the circle itself for
/// neighbours.
fn bend(start: f64, end: f64, radius: f64) -> (f64, f64) {
    let apart = (end - start + 0.5).rem_euclid(1.0) - 0.5;
    polar(start + apart / 2.0, radius * (1.0 - (apart.abs() * TAU / 2.0).sin()) * 0.9)
}

/// Text that cannot leave its element. What XML cannot carry at all becomes a question mark.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
        out
    })
}

/// At most `longest` characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    // the end of a name tells nodes apart as often as its beginning
    let head: String = text.chars().take(longest / 2).collect();
    let tail: Vec<char> = text.chars().rev().take(longest - longest / 2 - 1).collect();
    head + "…" + &tail.into_iter().rev().collect::<String>()
}
