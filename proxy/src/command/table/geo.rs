//! Rows of the geo commands.
//!
//! GEORADIUS and GEORADIUSBYMEMBER may name destinations behind STORE and STOREDIST.

use super::super::bits::Categories;
use super::super::build::Family;
use super::super::build::uses::{KEY, READ, REPLACE, TWO};
use super::super::row::{Command, Group, Keys};

const ROW: Family = Family::new(Group::Geo, Categories::GEO);

/// The rows of this group.
pub(super) const ROWS: &[Command] = &[
    ROW.write("geoadd", -5, KEY, "3.2.0", "Adds members with their position").denyoom(),
    ROW.read("geodist", -4, KEY, "3.2.0", "Distance between two members"),
    ROW.read("geohash", -2, KEY, "3.2.0", "Positions as geohash strings"),
    ROW.read("geopos", -2, KEY, "3.2.0", "Longitude and latitude of members"),
    ROW.write("georadius", -6, Keys::GeoRadius { options: 6 }, "3.2.0", "Members in a circle, can be stored")
        .denyoom()
        .movable()
        .uses(READ)
        .then(REPLACE)
        .and_then(REPLACE),
    ROW.read("georadius_ro", -6, KEY, "3.2.10", "Members within a circle"),
    ROW.write("georadiusbymember", -5, Keys::GeoRadius { options: 5 }, "3.2.0", "GEORADIUS around a member")
        .denyoom()
        .movable()
        .uses(READ)
        .then(REPLACE)
        .and_then(REPLACE),
    ROW.read("georadiusbymember_ro", -5, KEY, "3.2.10", "GEORADIUS_RO around a member"),
    ROW.read("geosearch", -7, KEY, "6.2.0", "Members within a circle or box"),
    ROW.write("geosearchstore", -8, TWO, "6.2.0", "Stores members within a circle or box")
        .denyoom()
        .uses(REPLACE)
        .then(READ),
];
