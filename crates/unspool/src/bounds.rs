//! How much a spool may hold, from a configuration to those who hold to it.

use unspool_config::{BoundsOptions, MinFree};
use unspool_core::{FreeFloor, SpoolBounds};
use unspool_wire::control::Bounds;

/// For this process.
pub(crate) fn own(options: &BoundsOptions) -> SpoolBounds {
    let some = |limit: u64| Some(limit).filter(|limit| *limit > 0);
    SpoolBounds {
        tasks: some(options.max_pending),
        bytes: some(options.max_pending_bytes),
        free: match options.min_free {
            MinFree::Bytes(0) | MinFree::Share(0) => None,
            MinFree::Bytes(bytes) => Some(FreeFloor::Bytes(bytes)),
            MinFree::Share(share) => Some(FreeFloor::Share(share)),
        },
    }
}

/// For the application's processes.
pub(crate) fn of_workers(options: &BoundsOptions) -> Bounds {
    Bounds {
        max_pending: options.max_pending,
        max_pending_bytes: options.max_pending_bytes.to_string(),
        min_free: options.min_free.to_string(),
    }
}
