//! Rows of scripts and functions.
//!
//! The keys are counted by an argument that may be zero: then any node can run the script. What makes scripts and
//! functions known takes place on every node.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::MODIFY;
use super::super::route::{Join, Route};
use super::super::row::{Command, Group, Keys, NumKeysRule};
use super::rules;

const ROW: Family = Family::new(Group::Scripting, Categories::SCRIPTING);

const SCRIPT_KEYS: Keys = Keys::NumKeys { at: 2, destination: false, rule: NumKeysRule::Script };
const FUNCTION_KEYS: Keys = Keys::NumKeys { at: 2, destination: false, rule: NumKeysRule::Function };

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.keyed("eval", -3, SCRIPT_KEYS, "2.6.0", "Runs a Lua script").script().uses(MODIFY),
    ROW.read("eval_ro", -3, SCRIPT_KEYS, "7.0.0", "Runs a Lua script that only reads").script(),
    ROW.keyed("evalsha", -3, SCRIPT_KEYS, "2.6.0", "Runs a Lua script known by its digest")
        .script()
        .uses(MODIFY),
    ROW.read("evalsha_ro", -3, SCRIPT_KEYS, "7.0.0", "Runs a known Lua script that only reads").script(),
    ROW.keyed("fcall", -3, FUNCTION_KEYS, "7.0.0", "Calls a function").script().uses(MODIFY),
    ROW.read("fcall_ro", -3, FUNCTION_KEYS, "7.0.0", "Calls a function that only reads").script(),
    ROW.container("function", "7.0.0", "Commands about function libraries", FUNCTION),
    ROW.container("script", "2.6.0", "Commands about Lua scripts", SCRIPT),
];

const FUNCTION: &[Command] = &[
    ROW.everywhere("function|delete", 3, Join::Ok, "7.0.0", "Deletes a library").writes().noscript(),
    ROW.everywhere("function|dump", 2, Join::Libraries, "7.0.0", "All libraries, serialised").noscript(),
    ROW.everywhere("function|flush", -2, Join::Ok, "7.0.0", "Deletes all libraries").writes().noscript(),
    ROW.help("function|help", "7.0.0"),
    ROW.keyed("function|kill", 2, Keys::None, "7.0.0", "Stops the function that runs")
        .route(Route::Running)
        .noscript()
        .allow_busy(),
    ROW.everywhere("function|list", -2, Join::Alike, "7.0.0", "Libraries and their functions").noscript(),
    ROW.everywhere("function|load", -3, Join::Same, "7.0.0", "Creates a library")
        .writes()
        .denyoom()
        .noscript(),
    ROW.everywhere("function|restore", -3, Join::Ok, "7.0.0", "Creates libraries from a dump")
        .writes()
        .denyoom()
        .noscript(),
    ROW.keyed("function|stats", 2, Keys::None, "7.0.0", "What function runs")
        .route(Route::Running)
        .noscript()
        .allow_busy(),
];

const SCRIPT: &[Command] = &[
    ROW.refused("script|debug", 3, rules::ONE_SCRIPT, "3.2.0", "Switches the Lua debugger").noscript(),
    ROW.everywhere("script|exists", -3, Join::Least, "2.6.0", "Which digests are known").noscript(),
    ROW.everywhere("script|flush", -2, Join::Ok, "2.6.0", "Forgets all scripts").noscript(),
    ROW.help("script|help", "5.0.0"),
    ROW.keyed("script|kill", 2, Keys::None, "2.6.0", "Stops the script that runs")
        .route(Route::Running)
        .noscript()
        .allow_busy(),
    ROW.everywhere("script|load", 3, Join::Same, "2.6.0", "Makes a script known without running it")
        .noscript()
        .stale(),
];
