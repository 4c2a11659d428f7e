//! Pickled arguments, as `unspool show` reads them: whatever they are, reading ends, and so does a walk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_core::pickle::{Item, Pickle, View};
use unspool_fuzz::memory::bounded;

/// A value costs more than the byte that makes it.
const BYTES_MAX: usize = 64 << 20;
const VALUES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 40;

fuzz_target!(|data: &[u8]| {
    bounded(BYTES_MAX, || {
        if let Ok(pickle) = Pickle::read(data) {
            let mut left = VALUES_MAX;
            walk(pickle.root(), 0, &mut left);
        }
    });
});

fn walk(item: Item<'_>, depth: usize, left: &mut usize) {
    if depth > DEPTH_MAX || *left == 0 {
        return;
    }
    *left -= 1;
    let mut within: Vec<Item<'_>> = Vec::new();
    match item.view() {
        View::List(items) | View::Tuple(items) | View::Set(items) => within.extend(items),
        View::Dict(pairs) => within.extend(pairs.into_iter().flat_map(|(key, value)| [key, value])),
        View::Object(object) => {
            within.push(object.class);
            within.extend(object.arguments);
            within.extend(object.items);
            within.extend([object.keywords, object.state].into_iter().flatten());
            within.extend(object.pairs.into_iter().flat_map(|(key, value)| [key, value]));
        }
        _ => {}
    }
    for item in within {
        walk(item, depth + 1, left);
    }
}
