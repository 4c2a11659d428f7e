//! Fails on purpose: shows that a crash is found and reported, that coverage leads to it, and that
//! memory has a bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;

fuzz_target!(|data: &[u8]| {
    let more = bounded(1 << 16, || Vec::<u8>::new().try_reserve(1 << 17));
    assert!(more.is_err(), "there is no bound on memory");
    if let [b'c', b'r', b'a', b's', b'h', ..] = data {
        panic!("the canary was found");
    }
});
