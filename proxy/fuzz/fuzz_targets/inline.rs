//! See `properties::inline`.  `make fuzz TARGET=inline`

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ringway_proxy_fuzz::properties::inline(data));
