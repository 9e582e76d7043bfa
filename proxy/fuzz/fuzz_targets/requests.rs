//! See `properties::requests`.  `make fuzz TARGET=requests`

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ringway_proxy_fuzz::properties::requests(data));
