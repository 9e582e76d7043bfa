//! Typed reading of a tree: each method answers the field's value or its default, and notes what is wrong.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{Problem, shown};
use super::units;
use super::yaml::{Entry, Node, Value};

/// A mapping whose fields are known.
pub(crate) struct Section<'a> {
    /// How messages name it: empty for the file itself, else `ring` or `nodes[0]`.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) line: usize,
    entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// The field, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.value.value != Value::Null).then_some(&entry.value)
    }

    /// The field's full name for messages.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Line of the field, or of the section when the field is absent.
    pub(crate) fn line_of(&self, key: &str) -> usize {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line)
    }
}

/// Collects problems while a file is read.
#[derive(Default)]
pub(crate) struct Reader {
    /// What was found so far.
    pub(crate) problems: Vec<Problem>,
    /// The fields of each section that was opened.
    known: Vec<(String, Vec<String>)>,
    /// Unknown fields: which problem tells of it, its name, and the section's place in `known`.
    strangers: Vec<(usize, String, usize)>,
}

impl Reader {
    /// Notes a problem.
    pub(crate) fn problem(&mut self, line: usize, text: impl Into<String>) {
        self.problems.push(Problem { line, text: text.into() });
    }

    /// Opens a mapping and reports the fields that are not `known`. Absent is empty.
    pub(crate) fn section<'a>(&mut self, node: Option<&'a Node>, name: &str, known: &[&str]) -> Section<'a> {
        let line = node.map_or(1, |node| node.line);
        let entries = match node.map(|node| &node.value) {
            None | Some(Value::Null) => &[][..],
            Some(Value::Map(entries)) => entries,
            Some(_) => {
                let kind = node.map_or("nothing", Node::kind);
                let what = if name.is_empty() { "the file" } else { name };
                self.problem(line, format!("{what} is {kind}; it holds the fields {}", known.join(", ")));
                &[][..]
            }
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.strangers.push((self.problems.len(), entry.key.clone(), self.known.len()));
            self.problem(entry.line, unknown_field(&entry.key, name, known));
        }
        self.known.push((name.to_owned(), known.iter().map(|&field| field.to_owned()).collect()));
        Section { name: name.to_owned(), line, entries }
    }

    /// All problems. An unknown field that another section has is told to be that one: it stands in the wrong place.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        for (problem, key, section) in &self.strangers {
            let (name, fields) = &self.known[*section];
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let elsewhere = self.elsewhere(key);
            // what only lacks a letter is meant for where it stands
            let is_close = nearest(key, &fields).is_some_and(|near| distance(&plain(key), near) <= 2);
            if let Some(text) = misplaced_field(key, name, &fields, &elsewhere).filter(|_| !is_close) {
                self.problems[*problem].text = text;
            }
        }
        self.problems
    }

    /// The sections that have this field, each as `auth.password`; of a list's entries one.
    fn elsewhere(&self, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, _) in self.known.iter().filter(|(_, fields)| fields.contains(&plain(key))) {
            let list = name.split_once('[').map(|(list, _)| format!("{list}[]"));
            let path = [list.as_deref().unwrap_or(name), &plain(key)].join(".");
            let path = path.trim_start_matches('.').to_owned();
            if !found.contains(&path) {
                found.push(path);
            }
        }
        found
    }

    /// Opens the section `key` of another section.
    pub(crate) fn inner<'a>(&mut self, outer: &Section<'a>, key: &str, known: &[&str]) -> Section<'a> {
        let mut section = self.section(outer.get(key), &outer.path(key), known);
        if outer.get(key).is_none() {
            section.line = outer.line_of(key);
        }
        section
    }

    /// Text as it stands in the file.
    pub(crate) fn text<'a>(&mut self, section: &Section<'a>, key: &str) -> Option<&'a str> {
        let node = section.get(key)?;
        match &node.value {
            Value::Scalar(text) => Some(text),
            _ => {
                self.problem(node.line, format!("{} is {}; write one value", section.path(key), node.kind()));
                None
            }
        }
    }

    /// A whole number within a range.
    pub(crate) fn integer(
        &mut self,
        at: &Section<'_>,
        key: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.bounded(at, key, range, default, parse_integer, |number| number.to_string())
    }

    /// A duration within a range.
    pub(crate) fn duration(
        &mut self,
        at: &Section<'_>,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.bounded(at, key, range, default, units::duration, |duration| units::show_duration(*duration))
    }

    /// A size in bytes within a range.
    pub(crate) fn bytes(
        &mut self,
        at: &Section<'_>,
        key: &str,
        range: RangeInclusive<u64>,
        default: usize,
    ) -> usize {
        let size =
            self.bounded(at, key, range, default as u64, units::bytes, |size| units::show_bytes(*size));
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// `true` or `false`; absent is `false`.
    pub(crate) fn flag(&mut self, at: &Section<'_>, key: &str) -> bool {
        match self.text(at, key) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let text = format!("{}: '{}' is neither true nor false", at.path(key), shown(other));
                self.problem(at.line_of(key), text);
                false
            }
        }
    }

    /// One of several words; absent is the default.
    pub(crate) fn choice<T: Copy + Default>(
        &mut self,
        at: &Section<'_>,
        key: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> T {
        let Some(word) = self.text(at, key) else { return T::default() };
        if let Some(known) = all.iter().find(|value| name(**value) == word) {
            return *known;
        }
        let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        let text = format!(
            "{}: '{}' is not known; the nearest value is '{}' (known: {})",
            at.path(key),
            shown(word),
            nearest(word, &names).unwrap_or_default(),
            names.join(", ")
        );
        self.problem(at.line_of(key), text);
        T::default()
    }

    fn bounded<T: PartialOrd>(
        &mut self,
        at: &Section<'_>,
        key: &str,
        range: RangeInclusive<T>,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let Some(text) = self.text(at, key) else { return default };
        let wrong = match parse(text) {
            Ok(value) if range.contains(&value) => return value,
            Ok(_) => format!("is out of range; use {} to {}", show(range.start()), show(range.end())),
            Err(why) => why,
        };
        self.problem(at.line_of(key), format!("{}: '{}' {wrong}", at.path(key), shown(text)));
        default
    }
}

fn parse_integer(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let parsed = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    if parsed.is_err() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is far too large; write a smaller whole number".to_owned());
    }
    parsed.map_err(|_| "is not a whole number; write digits only".to_owned())
}

/// Names the nearest known field, and all of them where they are few.
fn unknown_field(key: &str, section: &str, known: &[&str]) -> String {
    let nearest = nearest(key, known).unwrap_or_default();
    format!(
        "unknown field '{}'{}; the nearest known field is '{nearest}' (known: {})",
        shown(key),
        place(section),
        known.join(", ")
    )
}

/// The same of a field that stands `elsewhere`.
fn misplaced_field(key: &str, section: &str, known: &[&str], elsewhere: &[String]) -> Option<String> {
    let (last, others) = elsewhere.split_last()?;
    let fields = match others {
        [] => format!("the nearest known field is '{last}'"),
        others => format!("the nearest known fields are '{}' and '{last}'", others.join("', '")),
    };
    let here = place(section);
    Some(format!("unknown field '{}'{here}; {fields} (known here: {})", shown(key), known.join(", ")))
}

fn place(section: &str) -> String {
    if section.is_empty() { String::new() } else { format!(" in {section}") }
}

/// A name as fields are written.
fn plain(word: &str) -> String {
    let cut: String = word.chars().take(64).collect();
    cut.to_lowercase().replace(['-', ' '], "_")
}

/// The known name with the fewest edits from `word`.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = plain(word);
    known.iter().copied().min_by_key(|name| distance(&plain, name))
}

/// Twice the edits from one name to the other; a name that is only cut short or too long is nearer than one with a letter
/// changed.
fn distance(plain: &str, name: &str) -> usize {
    let prefix = plain.len() >= 3 && (name.starts_with(plain) || plain.starts_with(name));
    if prefix { 1 } else { strsim::damerau_levenshtein(plain, name) * 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read<T>(text: &str, with: impl Fn(&mut Reader, &Section<'_>) -> T) -> (T, Vec<Problem>) {
        let mut reader = Reader::default();
        let root = yaml::parse(text, &mut reader.problems).unwrap();
        let section = reader.section(Some(&root), "", &["points", "pause", "size", "inner"]);
        let value = with(&mut reader, &section);
        (value, reader.problems)
    }

    #[test]
    fn the_nearest_field_is_the_one_meant() {
        let known =
            ["listen", "threads", "ring", "nodes", "timeouts", "limits", "auth", "admin", "topology_file"];
        for (wrong, meant) in [
            ("listn", "listen"),
            ("Thread", "threads"),
            ("topology-file", "topology_file"),
            ("topology", "topology_file"),
            ("node", "nodes"),
            ("timeout", "timeouts"),
        ] {
            assert_eq!(nearest(wrong, &known), Some(meant), "{wrong}");
        }
    }

    #[test]
    fn unknown_fields_are_named_with_their_line() {
        let ((), problems) = read("points: 1\npuase: 1s\n", |_, _| ());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 2);
        assert!(
            problems[0].text.contains("'puase'; the nearest known field is 'pause'"),
            "{}",
            problems[0].text
        );
    }

    #[test]
    fn numbers_are_checked() {
        let points = |text: &str| read(text, |reader, at| reader.integer(at, "points", 1..=100, 7));
        assert_eq!(points("points: 12"), (12, vec![]));
        assert_eq!(points("points: 0x10"), (16, vec![]));
        assert_eq!(points("size: 1"), (7, vec![]));
        assert_eq!(points("points: null"), (7, vec![]));
        for wrong in ["0", "101", "-1", "1.5", "many", "[1]", "{a: 1}", "99999999999999999999999", "''"] {
            let (value, problems) = points(&format!("\npoints: {wrong}"));
            assert_eq!((value, problems.len(), problems[0].line), (7, 1, 2), "{wrong}");
        }
    }

    #[test]
    fn a_section_of_the_wrong_kind_is_told() {
        let ((), problems) = read("inner: 5", |reader, at| {
            reader.inner(at, "inner", &["a"]);
        });
        assert!(problems[0].text.contains("inner is a single value; it holds the fields a"), "{problems:?}");
    }
}
