//! Any bytes as a configuration of XML.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| unspool_fuzz::config::file("xml", data));
