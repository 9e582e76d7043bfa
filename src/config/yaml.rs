//! YAML as a tree in which every key and value knows its line.
//!
//! `saphyr-parser` does the syntax: it is maintained, pure safe Rust, passes the YAML test suite and gives a
//! position with each event. Its events are enough for a configuration file, and building the tree here is what
//! makes duplicate keys, anchors, tags, deep nesting and a second document errors with a line of their own.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Problem, shown};

/// No configuration needs more levels; the tree is walked recursively.
const DEEPEST: usize = 16;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// What stands there.
    pub(crate) value: Value,
}

/// What stands at a place of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number or a truth value: the reader of the field decides.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, without duplicate keys.
    Map(Vec<Entry>),
}

/// One field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The field's name.
    pub(crate) key: String,
    /// Line of the name.
    pub(crate) line: usize,
    /// The field's value.
    pub(crate) value: Node,
}

impl Node {
    /// What kind of thing stands here, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of fields",
        }
    }

    /// The fields, if this is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
}

/// Reads one document. `None` when the syntax is broken; then `problems` says where.
pub(crate) fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { problems, open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str(text).keep_tags(true) {
        let (event, span) = match event {
            Ok(found) => found,
            Err(error) => {
                let problem = syntax(text, &error);
                builder.problems.push(problem);
                return None;
            }
        };
        builder.take(event, span)?;
    }
    Some(builder.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

/// The parser's own words, with a mend where the usual cause is known.
fn syntax(text: &str, error: &ScanError) -> Problem {
    let line = error.marker().line();
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let indent = &source[..source.len() - source.trim_start().len()];
    let mend = if indent.contains('\t') || error.info().contains("tab") {
        "indent with spaces, YAML allows no tabs there"
    } else {
        "look for a missing colon, bracket, quote or a wrong indentation on this line or the one before"
    };
    Problem { line, text: format!("not valid YAML: {}; {mend}", error.info()) }
}

/// A container that is still being read.
enum Open {
    List(usize, Vec<Node>),
    /// The key is there while its value is awaited.
    Map(usize, Vec<Entry>, Option<(String, usize)>),
}

struct Builder<'p> {
    problems: &'p mut Vec<Problem>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    /// `None` ends the reading: what follows would only repeat the problem.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                (self.documents == 1).then_some(()).or_else(|| {
                    self.refuse(line, "a second document begins here; keep one document in one file")
                })
            }
            Event::Alias(_) => {
                self.refuse(line, "aliases (*name) are not supported; write the value out where it is needed")
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(line, anchor, tag.is_some())?;
                let null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                self.scalar(line, if null { None } else { Some(text.into_owned()) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(line, anchor, tag.is_some())?;
                self.begin(line, Open::List(line, Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(line, anchor, tag.is_some())?;
                self.begin(line, Open::Map(line, Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
        }
    }

    fn refuse(&mut self, line: usize, text: impl Into<String>) -> Option<()> {
        self.problems.push(Problem { line, text: text.into() });
        None
    }

    fn plain(&mut self, line: usize, anchor: usize, tagged: bool) -> Option<()> {
        if anchor != 0 {
            return self
                .refuse(line, "anchors (&name) are not supported; write the value out where it is needed");
        }
        if tagged {
            return self.refuse(line, "tags (!name) are not supported; leave the tag out");
        }
        Some(())
    }

    fn begin(&mut self, line: usize, container: Open) -> Option<()> {
        if self.open.len() >= DEEPEST {
            return self.refuse(line, format!("nested more than {DEEPEST} levels deep; no field needs that"));
        }
        if let Some(Open::Map(_, _, None)) = self.open.last() {
            return self.refuse(line, "a field's name must be plain text; quote it if it begins with { or [");
        }
        self.open.push(container);
        Some(())
    }

    fn scalar(&mut self, line: usize, text: Option<String>) -> Option<()> {
        if let Some(Open::Map(_, _, key @ None)) = self.open.last_mut() {
            *key = Some((text.unwrap_or_else(|| "null".to_owned()), line));
            return Some(());
        }
        self.value(Node { line, value: text.map_or(Value::Null, Value::Scalar) });
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let node = match self.open.pop()? {
            Open::List(line, items) => Node { line, value: Value::List(items) },
            Open::Map(line, entries, _) => Node { line, value: Value::Map(entries) },
        };
        self.value(node);
        Some(())
    }

    fn value(&mut self, value: Node) {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List(_, items)) => items.push(value),
            Some(Open::Map(_, entries, key)) => {
                let Some((key, line)) = key.take() else { return };
                match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let text = format!(
                            "field '{}' stands here a second time, first on line {}; keep one of them",
                            shown(&key),
                            first.line
                        );
                        self.problems.push(Problem { line, text });
                    }
                    None => entries.push(Entry { key, line, value }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        parse(text, &mut problems);
        problems
    }

    fn only(text: &str) -> (usize, String) {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].line, found[0].text.clone())
    }

    #[test]
    fn every_value_knows_its_line() {
        let mut problems = Vec::new();
        let root = parse("a: 1\nb:\n  - x: ~\n  - {y: 'null'}\n", &mut problems).unwrap();
        assert!(problems.is_empty());
        let entries = root.entries().unwrap();
        assert_eq!((entries[0].line, entries[1].line), (1, 2));
        let Value::List(items) = &entries[1].value.value else { panic!() };
        assert_eq!((items[0].line, items[1].line), (3, 4));
        assert_eq!(items[0].entries().unwrap()[0].value.value, Value::Null);
        assert_eq!(items[1].entries().unwrap()[0].value.value, Value::Scalar("null".into()));
    }

    #[test]
    fn an_empty_file_is_nothing() {
        assert_eq!(parse("# only a comment\n", &mut Vec::new()).unwrap().value, Value::Null);
        assert_eq!(parse("", &mut Vec::new()).unwrap().value, Value::Null);
    }

    #[test]
    fn duplicate_keys_name_both_lines() {
        let (line, text) = only("a: 1\nb: 2\na: 3\n");
        assert_eq!(line, 3);
        assert!(text.contains("first on line 1"), "{text}");
    }

    #[test]
    fn tabs_say_what_to_do() {
        let (line, text) = only("a:\n\tb: 1\n");
        assert_eq!(line, 2);
        assert!(text.contains("indent with spaces"), "{text}");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert!(only("a: &x 1\n").1.contains("anchors"));
        assert!(only("a: 1\nb: !env X\n").1.contains("tags"));
        assert_eq!(only("a: 1\n---\nb: 2\n").0, 2);
        assert!(only("{[a]: 1}").1.contains("plain text"));
    }

    #[test]
    fn no_input_overflows_the_stack() {
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            assert!(!problems(&text).is_empty());
        }
    }

    #[test]
    fn broken_syntax_has_a_line() {
        assert_eq!(only("a: 1\nb: [1, 2\nc: 3\n").0.clamp(2, 4), only("a: 1\nb: [1, 2\nc: 3\n").0);
        assert!(!problems("a: \"unterminated\n").is_empty());
    }
}
