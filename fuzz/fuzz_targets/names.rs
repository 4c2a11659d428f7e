//! Names of files and folders, and the texts in a task that say when and how urgent it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_core::{Priority, due};
use unspool_spool::{is_aside_name, is_task_name, submitted_ns};

fuzz_target!(|data: &[u8]| {
    let _ = (due::parse_at(data), submitted_ns(data));
    assert!(!(is_task_name(data) && is_aside_name(data)));
    let names: Vec<Priority> =
        data.split(|byte| *byte == b'\n').take(3).filter_map(|n| Priority::new(n).ok()).collect();
    for name in &names {
        assert!(!is_task_name(name.as_bytes()) && !name.as_bytes().contains(&b'/'));
    }
    // An order: the folders are sorted by it.
    if let [a, b, c] = &names[..] {
        assert_eq!(a.cmp(b), b.cmp(a).reverse());
        assert_eq!(a.cmp(b).is_eq(), a == b);
        assert!(!(a <= b && b <= c) || a <= c);
    }
});
