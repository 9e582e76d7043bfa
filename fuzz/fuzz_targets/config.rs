//! See `properties::config`.  `make fuzz TARGET=config`

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ringway_fuzz::properties::config(data));
