//! The properties behind the fuzz targets.

pub mod properties;
