//! Any bytes as an ini file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| unspool_fuzz::config::file("ini", data));
