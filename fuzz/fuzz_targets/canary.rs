//! Fails on purpose: shows that a crash is found and reported, and that coverage leads to it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let [b'c', b'r', b'a', b's', b'h', ..] = data {
        panic!("the canary was found");
    }
});
