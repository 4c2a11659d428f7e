//! A bound on the memory that one input may take: past it an allocation fails, which ends the
//! process and so is a finding.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIVE_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

// SAFETY: every call goes to the system's allocator as it came, or fails as an allocator may.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !takes(layout) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !takes(layout) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Whether so much more may be held. The first refusal lifts the bound, so that it can be reported.
fn takes(layout: Layout) -> bool {
    let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
    let fits = live <= LIVE_MAX.load(Ordering::Relaxed);
    if !fits {
        LIVE_MAX.store(usize::MAX, Ordering::Relaxed);
    }
    fits
}

/// Runs `work`, which may hold so many bytes at once more than there are now.
pub fn bounded<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    LIVE_MAX.store(LIVE.load(Ordering::Relaxed) + bytes_max, Ordering::Relaxed);
    let done = work();
    LIVE_MAX.store(usize::MAX, Ordering::Relaxed);
    done
}
