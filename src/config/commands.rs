//! The section `commands` and the field `multi_key`: what is let through that is refused by default.

use ringway_proxy::command;
use ringway_proxy::settings::MultiKey;

use super::problem::shown;
use super::reader::{Reader, Section, nearest};
use super::yaml::Value;

/// Reads `commands.allow`, a list of the names of guarded commands.
pub(crate) fn allowed(reader: &mut Reader, root: &Section<'_>) -> Vec<String> {
    let at = reader.inner(root, "commands", &["allow"]);
    let Some(node) = at.get("allow") else { return Vec::new() };
    let Value::List(items) = &node.value else {
        if !matches!(node.value, Value::Null) {
            let text =
                format!("{} is {}; write a list such as [flushall, keys]", at.path("allow"), node.kind());
            reader.problem(node.line, text);
        }
        return Vec::new();
    };
    let known: Vec<&str> = command::guarded().map(|row| row.full_name).collect();
    let mut allowed = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Scalar(name) if known.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                allowed.push(name.to_ascii_lowercase());
            }
            Value::Scalar(name) => {
                let text = format!(
                    "{}: '{}' is not refused by default, or is no command; the nearest that can be allowed is '{}' (all: {})",
                    at.path("allow"),
                    shown(name),
                    nearest(name, &known).unwrap_or_default(),
                    known.join(", ")
                );
                reader.problem(item.line, text);
            }
            _ => reader.problem(item.line, format!("{}: write command names", at.path("allow"))),
        }
    }
    allowed
}

/// Reads `multi_key`.
pub(crate) fn multi_key(reader: &mut Reader, root: &Section<'_>) -> MultiKey {
    reader.choice(root, "multi_key", &MultiKey::ALL, MultiKey::name)
}
