//! What becomes of each command here, for people and programs that look before they use one.

use crate::command::{self, Begin, Command, Find, KeySpec, Learned, LearnedCommands, Route};
use crate::settings::Settings;

/// One command, as it stands in the table or as nodes told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReport {
    /// `get`, `xgroup|create`.
    pub name: String,
    /// Whether it runs.
    pub supported: bool,
    /// Where it goes, in words; `None` when it does not run.
    pub how: Option<String>,
    /// Why it does not run.
    pub why_not: Option<String>,
    /// The first Redis version that has it; `None` when only nodes tell of it.
    pub since: Option<&'static str>,
    /// Where its keys are: key specifications in short, `index 1, range 0 1 0`.
    pub keys: Vec<String>,
}

/// All of them: the table in its order, then those that were learned, by name.
pub(crate) fn commands(settings: &Settings, learned: &LearnedCommands) -> Vec<CommandReport> {
    let rows = command::all().map(|row| of_row(row, settings));
    let learned = learned.all().into_iter().map(|(name, learned)| match learned {
        Learned::Row(row) => CommandReport { since: None, ..of_row(row, settings) },
        Learned::Refused(rule) => CommandReport {
            name,
            supported: false,
            how: None,
            why_not: Some(rule.to_string()),
            since: None,
            keys: Vec::new(),
        },
    });
    rows.chain(learned).collect()
}

fn of_row(row: &'static Command, settings: &Settings) -> CommandReport {
    let why_not = match row.route {
        Route::Refused(_) if row.is_supported() => None,
        Route::Refused(rule) => Some(rule.to_owned()),
        _ if settings.allows(row) => None,
        _ => row.guarded.map(str::to_owned),
    };
    let how = match row.route {
        _ if why_not.is_some() => None,
        Route::Refused(_) => Some("by its subcommands".into()),
        route => Some(command::way(route)),
    };
    CommandReport {
        name: row.full_name.to_owned(),
        supported: why_not.is_none(),
        how,
        why_not,
        since: Some(row.since),
        keys: row.key_specs().map(|spec| in_short(&spec)).collect(),
    }
}

fn in_short(spec: &KeySpec) -> String {
    let begin = match spec.begin {
        Begin::Index(at) => format!("index {at}"),
        Begin::Keyword(word, from) => format!("keyword {word} {from}"),
        Begin::Unknown => "unknown".into(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
        Find::KeyNum { number, first, step } => format!("keynum {number} {first} {step}"),
        Find::Unknown => "unknown".into(),
    };
    format!("{begin}, {find}")
}
