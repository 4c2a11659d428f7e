//! Packets between a dispatcher and a worker, in both directions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_core::limits::HANDED_MAX;
use unspool_fuzz::memory::bounded;
use unspool_wire::task::{FromWorker, ToWorker};

fuzz_target!(|data: &[u8]| bounded(64 * data.len() + 64 * 1024, || {
    if let Ok(packet) = ToWorker::decode(data) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert_eq!(bytes, data);
        assert!(FromWorker::decode(data).is_err(), "it has a direction");
        if let ToWorker::Tasks(tasks) = packet {
            assert!(tasks.len() <= HANDED_MAX);
        }
    }
    if let Ok(packet) = FromWorker::decode(data) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        // Texts that are not UTF-8 change, what they became does not.
        assert_eq!(FromWorker::decode(&bytes), Ok(packet.clone()));
        if let FromWorker::Reports(reports) = packet {
            assert!(reports.len() <= HANDED_MAX);
        }
    }
}));
