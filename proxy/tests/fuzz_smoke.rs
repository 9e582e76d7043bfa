//! The fuzz targets on a stable compiler, see `proxy/fuzz/src/smoke.rs`. What fails goes to `proxy/fuzz/corpus`.

#[allow(unreachable_pub, reason = "public for the fuzz targets, which are another crate")]
#[path = "../fuzz/src/properties.rs"]
mod properties;
#[allow(unreachable_pub, reason = "public for other crates that include it")]
#[path = "../fuzz/src/smoke.rs"]
mod smoke;

use smoke::fuzz;

#[test]
fn requests() {
    fuzz("requests", properties::requests);
}

#[test]
fn replies() {
    fuzz("replies", properties::replies);
}

#[test]
fn inline() {
    fuzz("inline", properties::inline);
}

#[test]
fn keys() {
    fuzz("keys", properties::keys);
}
