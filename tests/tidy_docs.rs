//! The documents hold what they say: links lead somewhere, and calls, metrics, fields and targets are there and documented.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tidy::{read, root};

/// Every document that people read, with its path relative to the root.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                let relative = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((relative, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
}

/// Without blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What a heading is called in a link, as the usual renderers name it.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let lines = text.split("```").step_by(2).flat_map(str::lines);
    let headings = lines.filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

/// Targets of `[…](…)` outside of code.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(link, _)| link.to_owned()).collect()
}

fn all_there(what: &str, missing: &[String]) {
    assert!(missing.is_empty(), "{what}:\n{}", missing.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let mut tried = 0;
    for (path, text) in documents() {
        let folder = Path::new(&path).parent().unwrap_or(Path::new(""));
        for link in links(&text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            tried += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = if file.is_empty() { root().join(&path) } else { root().join(folder).join(file) };
            let there = match std::fs::read_to_string(&target) {
                Ok(text) => heading.is_empty() || anchors(&text).contains(heading),
                Err(_) => target.is_dir() && heading.is_empty(),
            };
            if !there {
                dead.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(tried > 100, "the reader of links reads: {tried}");
    all_there("links that lead nowhere", &dead);
}

#[test]
fn every_call_of_the_admin_api_stands_in_its_table() {
    let routes = read("admin/src/routes.rs");
    let page = read("docs/admin-api.md");
    let table: String = page.lines().filter(|line| line.starts_with("| [`")).collect();
    let calls: Vec<&str> = routes
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(path, _)| path)
        .collect();
    assert!(calls.len() > 15, "{calls:?}");
    // what only other Ringways call is told below the table
    let told = |path: &&&str| {
        if path.ends_with("/keys") { page.contains("…/keys") } else { table.contains(**path) }
    };
    let missing: Vec<String> = calls.iter().filter(|path| !told(path)).map(ToString::to_string).collect();
    all_there("calls that docs/admin-api.md does not list", &missing);
}

/// Words of letters, digits and underscores that begin like this.
fn words<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !is_of_word(letter)).filter(|word| word.starts_with(begin)).collect()
}

#[test]
fn metrics_are_documented_and_those_that_are_documented_exist() {
    let source = read("admin/src/metrics.rs");
    let code = source.split("#[cfg(test)]").next().expect("code");
    let named: BTreeSet<&str> =
        code.split('"').skip(1).step_by(2).filter(|text| text.starts_with("ringway_")).collect();
    assert!(named.len() > 30, "{named:?}");
    let page = read("docs/admin-api.md");
    let documented = words(&page, "ringway_");
    let missing: Vec<String> = named.difference(&documented).map(ToString::to_string).collect();
    all_there("metrics that docs/admin-api.md does not explain", &missing);
    let mut unknown = Vec::new();
    // all-nodes.md names what INFO has
    for (path, text) in documents().iter().filter(|(path, _)| path != "docs/all-nodes.md") {
        for word in words(text, "ringway_") {
            let metric = word.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
            if !named.contains(metric) && !["ringway_proxy", "ringway_ring", "ringway_admin"].contains(&word)
            {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    all_there("metrics that documents name and nobody has", &unknown);
}

/// What stands between backticks in the first column of a page's tables of fields.
fn fields(text: &str) -> BTreeSet<String> {
    let table = text.split_once("| Field |").map_or("", |(_, rest)| rest);
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let columns = rows.filter_map(|row| row.split(" | ").next());
    columns.flat_map(|column| column.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn fields_of_the_configuration_are_those_that_are_read() {
    let all = fields(&read("docs/configuration.md"));
    assert!(all.len() > 50, "{all:?}");
    // the README names some sections as a whole
    let known = |field: &String| {
        all.iter().any(|one| {
            one == field || one.strip_prefix(field.as_str()).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let unknown: Vec<String> = fields(&read("README.md")).into_iter().filter(|field| !known(field)).collect();
    all_there("fields of the README that docs/configuration.md does not have", &unknown);
    let sources: String = crate::tidy::sources("src/config").into_iter().map(|(_, text)| text).collect();
    let is_read = |field: &&String| {
        let leaf = field.rsplit('.').next().unwrap_or_default();
        sources.contains(&format!("\"{leaf}\""))
    };
    let missing: Vec<String> = all.iter().filter(|field| !is_read(field)).cloned().collect();
    all_there("fields that are documented and nobody reads", &missing);
    // and the example shows each of them, in place or in a comment
    let example = read("ringway.example.yaml");
    let shown = |field: &&String| {
        let leaf = field.rsplit('.').next().unwrap_or_default();
        example.contains(&format!("{leaf}:"))
    };
    let missing: Vec<String> = all.iter().filter(|field| !shown(field)).cloned().collect();
    all_there("fields that ringway.example.yaml does not show", &missing);
}

#[test]
fn make_has_the_targets_that_documents_name() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(": ").or_else(|| line.split_once(":")))
        .map(|(target, _)| target)
        .collect();
    let mut unknown = Vec::new();
    let mut tried = 0;
    for (path, text) in documents() {
        let in_code = text.split('`').skip(1).step_by(2).chain(text.split("```").skip(1).step_by(2));
        for target in in_code.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("make ")) {
            let target = target.split_whitespace().next().unwrap_or_default();
            tried += 1;
            if !targets.contains(target) {
                unknown.push(format!("{path}: make {target}"));
            }
        }
    }
    assert!(tried > 15, "{tried}");
    all_there("targets that the Makefile does not have", &unknown);
}
