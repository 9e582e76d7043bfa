//! Pictures of a ring and of a change, as SVG for a browser, a document or a pull request.
//!
//! ```text
//!   ring:    outer ring = who owns each stretch of the hash space     change:  outer ring = stretches that move
//!            inner ring = each node's stretches put together                   ribbons    = from whom to whom
//!            table      = name, weight, share against the ideal                table      = before, after
//! ```
//! Colours are told apart with any kind of colour vision (Okabe and Ito's palette), and never carry a meaning alone:
//! every node has its name where there is room, and its row in the table always.

mod canvas;
mod change;
mod palette;
mod ring;
mod table;

use ringway_ring::{Placement, Ring};

pub(crate) use change::change;
pub(crate) use ring::ring;

/// What the ring is, in a few words.
fn describe(ring: &Ring) -> String {
    let config = ring.config();
    let hash = config.placement.key_hash().map(|hash| format!(" {hash}")).unwrap_or_default();
    let seed = if config.placement == Placement::Xxh3 && config.seed != 0 {
        format!(", seed {}", config.seed)
    } else {
        String::new()
    };
    let unit = if ring.config().placement.name() == "modula" { "slots" } else { "points" };
    format!("{}{hash}, {} {unit}{seed}", config.placement, ring.point_count())
}

/// Each member's ideal share: its weight over the sum of weights.
fn ideals(ring: &Ring) -> Vec<f64> {
    let total: f64 = ring.members().iter().map(|member| f64::from(member.weight)).sum();
    ring.members().iter().map(|member| f64::from(member.weight) / total).collect()
}

/// The hash space cut into `BINS` equal pieces, each with the owner of its largest part, joined to runs of
/// `(start, end, owner)` as fractions of the circle. Finer stretches than a piece could not be seen.
fn runs<T: Copy + PartialEq>(stretches: impl Iterator<Item = (f64, f64, T)>) -> Vec<(f64, f64, T)> {
    const BINS: usize = 1440;
    let mut bins: Vec<Vec<(T, f64)>> = vec![Vec::new(); BINS];
    for (start, end, owner) in stretches {
        let (first, last) = ((start * BINS as f64) as usize, (end * BINS as f64).ceil() as usize);
        for (at, bin) in bins.iter_mut().enumerate().take(last).skip(first) {
            let (from, to) = (at as f64 / BINS as f64, (at + 1) as f64 / BINS as f64);
            let part = end.min(to) - start.max(from);
            match bin.iter_mut().find(|(other, _)| *other == owner) {
                Some((_, sum)) => *sum += part,
                None => bin.push((owner, part)),
            }
        }
    }
    let mut runs: Vec<(f64, f64, T)> = Vec::new();
    for (at, bin) in bins.iter().enumerate() {
        let Some((owner, _)) = bin.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        let (from, to) = (at as f64 / BINS as f64, (at + 1) as f64 / BINS as f64);
        match runs.last_mut() {
            Some((_, end, last)) if last == owner && *end == from => *end = to,
            _ => runs.push((from, to, *owner)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use ringway_ring::{KeyHash, Member, RingConfig};

    use super::*;

    fn build(names: &[&str], placement: Placement) -> Ring {
        let members: Vec<Member> = names.iter().map(|name| Member::new(*name, 1)).collect();
        Ring::build(&RingConfig { placement, ..RingConfig::default() }, &members).unwrap()
    }

    fn many(count: usize) -> Ring {
        let names: Vec<String> = (0..count).map(|number| format!("cache-{number:03}.a-long-name")).collect();
        build(&names.iter().map(String::as_str).collect::<Vec<_>>(), Placement::Xxh3)
    }

    /// Every element that is opened is closed, attributes are quoted, and nothing stands unescaped.
    fn assert_well_formed(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a stray > before {}", &rest[start..start + 20]);
            let end = start + rest[start..].find('>').expect("an element that ends");
            let element = &rest[start + 1..end];
            assert_eq!(element.matches('"').count() % 2, 0, "{element}");
            assert!(!element.contains('<'), "{element}");
            if let Some(name) = element.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !element.ends_with('/') {
                open.push(element.split_whitespace().next().unwrap());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "every number is finite");
        for after in text.split('&').skip(1) {
            assert!(
                ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| after.starts_with(entity)),
                "&{after:.10}"
            );
        }
    }

    #[test]
    fn rings_of_all_sizes_and_placements_are_well_formed() {
        for ring in [many(1), many(3), many(50), many(300), build(&["a<b>&c", "d"], Placement::Xxh3)] {
            assert_well_formed(&super::ring(&ring));
        }
        for placement in
            [Placement::Ketama(KeyHash::Md5), Placement::Modula(KeyHash::Murmur), Placement::EnvoyRing]
        {
            assert_well_formed(&super::ring(&build(&["a", "b", "c"], placement)));
        }
    }

    #[test]
    fn changes_of_all_kinds_are_well_formed() {
        let pairs = [
            (many(3), many(4)),
            (many(50), many(51)),
            (many(51), many(50)),
            (many(1), many(1)),
            (build(&["a"], Placement::Xxh3), build(&["b"], Placement::Xxh3)),
            (build(&["a", "b"], Placement::Xxh3), build(&["a", "b"], Placement::Ketama(KeyHash::Md5))),
            (
                build(&["a", "b"], Placement::Modula(KeyHash::Md5)),
                build(&["a"], Placement::Modula(KeyHash::Md5)),
            ),
        ];
        for (before, after) in pairs {
            assert_well_formed(&change(&before, &after));
        }
    }

    #[test]
    fn every_node_and_share_is_named() {
        let ring = many(50);
        let picture = super::ring(&ring);
        for (member, share) in ring.members().iter().zip(ring.shares()) {
            assert!(picture.contains(&member.name), "{}", member.name);
            assert!(picture.contains(&format!("{:.2} %", share * 100.0)), "{}", member.name);
        }
    }

    #[test]
    fn runs_cover_the_circle_once() {
        let ring = many(3);
        let runs = runs(ring.arcs().map(|arc| (arc.start, arc.start + arc.len, arc.member)));
        assert_eq!((runs[0].0, runs[runs.len() - 1].1), (0.0, 1.0));
        assert!(runs.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2));
    }
}
