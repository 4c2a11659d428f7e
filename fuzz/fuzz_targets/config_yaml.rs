//! Any bytes as a configuration of YAML.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| unspool_fuzz::config::file("yaml", data));
