//! Any text as the arguments of a command line, one a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| unspool_fuzz::config::arguments(data));
