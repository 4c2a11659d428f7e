//! Any bytes as a configuration of JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| unspool_fuzz::config::file("json", data));
