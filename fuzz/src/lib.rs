//! The properties behind the fuzz targets of the program itself, whose files are read here once more: a binary has no
//! other way to show them.

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../src/config/mod.rs"]
mod config;
pub mod properties;
