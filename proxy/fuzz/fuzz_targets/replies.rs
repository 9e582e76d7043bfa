//! See `properties::replies`.  `make fuzz TARGET=replies`

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ringway_proxy_fuzz::properties::replies(data));
