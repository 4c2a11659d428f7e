//! What a zygote says and what any process may ask: JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;
use unspool_wire::control::FromZygote;
use unspool_wire::request::{Asked, Request};

fuzz_target!(|data: &[u8]| bounded(256 * data.len() + 64 * 1024, || {
    let asked = serde_json::from_slice::<Asked>(data);
    let said = serde_json::from_slice::<FromZygote>(data);
    if let Ok(asked) = &asked
        && !matches!(asked.request, Request::Sources { .. })
    {
        assert!(said.is_err(), "what is a request is no report");
    }
}));
