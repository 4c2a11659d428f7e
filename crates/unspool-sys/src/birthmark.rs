//! Whether a process is still the one that it was, without a system call.
#![expect(unsafe_code, reason = "a page that the kernel wipes in a child")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::host;

/// One page: the smallest that a mapping can be on any machine.
const BYTES: usize = 4096;

/// A mark of the process that made it, which none that is forked from it has.
#[derive(Debug)]
pub struct Birthmark {
    /// `None` where the kernel cannot wipe one (before Linux 4.14).
    page: Option<Page>,
    pid: u32,
}

impl Birthmark {
    /// Marks this process.
    pub fn new() -> Self {
        Self { page: Page::new().ok(), pid: host::pid() }
    }

    /// Whether this is the process that made it.
    pub fn is_here(&self) -> bool {
        self.page.as_ref().map_or_else(|| self.pid == host::pid(), Page::is_whole)
    }
}

impl Default for Birthmark {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory that is zeros in a child.
#[derive(Debug)]
struct Page(NonNull<AtomicU8>);

// SAFETY: the page is only reached through an atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), BYTES, access, MapFlags::PRIVATE)? };
        let page = NonNull::new(page.cast::<AtomicU8>())
            .ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let made = Self(page);
        // SAFETY: nobody else has the page; where it is wiped, its byte is a valid one, 0.
        unsafe { madvise(page.as_ptr().cast(), BYTES, Advice::LinuxWipeOnFork)? };
        made.byte().store(1, Ordering::Relaxed);
        Ok(made)
    }

    fn is_whole(&self) -> bool {
        self.byte().load(Ordering::Relaxed) != 0
    }

    fn byte(&self) -> &AtomicU8 {
        // SAFETY: the page is mapped as long as `self` lives, and any byte is a valid value.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page was mapped with this length, and no reference outlives `self`.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_have_it_with_and_without_the_page() {
        for mark in [Birthmark::new(), Birthmark { page: None, pid: host::pid() }] {
            assert!(mark.is_here());
            // SAFETY: the child makes one system call at most, and leaves.
            let child = match unsafe { libc::fork() } {
                // SAFETY: it ends here.
                0 => unsafe { libc::_exit(i32::from(mark.is_here())) },
                child => child,
            };
            assert!(child > 0);
            let mut status = -1;
            // SAFETY: the child is ours, and the status is written to.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child takes itself for its parent");
            assert!(mark.is_here());
        }
        assert!(Birthmark::new().page.is_some(), "the tests' kernel wipes pages");
    }
}
