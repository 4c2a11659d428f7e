//! Whether the task that this process runs was cancelled.
//!
//! Its slot says so, which the dispatcher marks; a signal has the interpreter look. The signal may come
//! late, in the middle of another task: that one's slot is not marked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use unspool_sys::slots::{Slot, SlotTable};

/// The slots of this process, and its row.
static SLOTS: OnceLock<(Arc<SlotTable>, usize)> = OnceLock::new();

/// The slot of the running task plus one; 0: there is none, or it has been told.
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// Has this process look at these slots from now on.
pub(crate) fn watch(slots: &Arc<SlotTable>, row: usize) {
    // A process is a worker once.
    let _ = SLOTS.set((Arc::clone(slots), row));
}

/// The task of a slot begins.
pub(crate) fn begin(slot: u8) {
    CURRENT.store(usize::from(slot) + 1, Ordering::Release);
}

/// It has ended, or its handler has returned: it is not told any more.
pub(crate) fn end() {
    CURRENT.store(0, Ordering::Release);
}

/// Whether the running task was cancelled. Only once: the next call for it says no.
#[pyfunction]
pub(crate) fn take_cancellation() -> bool {
    let current = CURRENT.load(Ordering::Acquire);
    let Some(slot) = current.checked_sub(1) else { return false };
    let cancelled = SLOTS.get().and_then(|(slots, row)| slots.row(*row)?.get(slot));
    cancelled.is_some_and(Slot::is_cancelled)
        && CURRENT.compare_exchange(current, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}
