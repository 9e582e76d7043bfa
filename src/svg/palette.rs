//! Colours that stay apart with any kind of colour vision.
//!
//! Okabe and Ito, "Color Universal Design" (2008), without black, plus grey; when a picture has more nodes than that,
//! the same hues return lighter and darker. Neighbours always differ in hue.

/// Red, green, blue.
type Rgb = (u8, u8, u8);

const HUES: [Rgb; 8] = [
    (0x00, 0x72, 0xB2), // blue
    (0xE6, 0x9F, 0x00), // orange
    (0x00, 0x9E, 0x73), // bluish green
    (0xCC, 0x79, 0xA7), // reddish purple
    (0x56, 0xB4, 0xE9), // sky blue
    (0xD5, 0x5E, 0x00), // vermilion
    (0xF0, 0xE4, 0x42), // yellow
    (0x99, 0x99, 0x99), // grey
];

/// How far a round of hues goes towards white (above 0) or black (below 0).
const SHADES: [f64; 5] = [0.0, 0.5, -0.35, 0.72, -0.6];

/// The colour of the node at this place.
pub(super) fn colour(at: usize) -> String {
    let (red, green, blue) = rgb(at);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A darker tone of it, for thin lines.
pub(super) fn edge(at: usize) -> String {
    let (red, green, blue) = rgb(at);
    let darker = |value: u8| (u16::from(value) * 3 / 5) as u8;
    format!("#{:02x}{:02x}{:02x}", darker(red), darker(green), darker(blue))
}

/// Black or white, whichever is read better on that colour.
pub(super) fn ink(at: usize) -> &'static str {
    let (red, green, blue) = rgb(at);
    // relative luminance in the common approximation, 0 to 255
    let light = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue);
    if light > 125.0 { "#111" } else { "#fff" }
}

fn rgb(at: usize) -> Rgb {
    let (red, green, blue) = HUES[at % HUES.len()];
    let shade = SHADES[at / HUES.len() % SHADES.len()];
    let mix = |value: u8| {
        let towards = if shade > 0.0 { 255.0 } else { 0.0 };
        (f64::from(value) + (towards - f64::from(value)) * shade.abs()).round() as u8
    };
    (mix(red), mix(green), mix(blue))
}
