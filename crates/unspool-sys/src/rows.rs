//! Memory that processes share, in rows of one type: what slots and tails have in common.
#![expect(unsafe_code, reason = "shared memory")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A row that other processes change while it is read.
///
/// # Safety
/// Any bytes are a valid value, its size is not 0, and all of it is reached through atomics.
pub(crate) unsafe trait Row {}

/// A file of rows, mapped.
#[derive(Debug)]
pub(crate) struct Rows<T: Row> {
    base: NonNull<T>,
    count: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping is shared memory that is only reached through atomics.
unsafe impl<T: Row> Send for Rows<T> {}
// SAFETY: as above.
unsafe impl<T: Row> Sync for Rows<T> {}

impl<T: Row> Rows<T> {
    /// Bytes of so many rows.
    pub(crate) const fn bytes(count: usize) -> usize {
        count * size_of::<T>()
    }

    /// Maps as many rows as the file is long. Nobody may make it shorter: it is ours alone (mode 0600
    /// in our folder), or has no name.
    pub(crate) fn map(fd: OwnedFd) -> io::Result<Self> {
        let count = rustix::fs::fstat(&fd)?.st_size as usize / size_of::<T>();
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shared memory without a row"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let bytes = Self::bytes(count);
        // SAFETY: a new mapping at an address of the kernel's choice; the file is at least that long
        // and stays so.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, &fd, 0)? };
        let base = NonNull::new(base.cast::<T>())
            .ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, count, fd })
    }

    /// Maps memory without a name, which takes room only once it is used.
    pub(crate) fn anonymous(name: &std::ffi::CStr, count: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, Self::bytes(count) as u64)?;
        Self::map(fd)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The file, to hand it to another process.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A row; `None` beyond the last.
    pub(crate) fn get(&self, row: usize) -> Option<&T> {
        // SAFETY: the row lies inside the mapping, which lives as long as `self`; the rest is the
        // promise of `Row`.
        (row < self.count).then(|| unsafe { self.base.add(row).as_ref() })
    }
}

impl<T: Row> Drop for Rows<T> {
    fn drop(&mut self) {
        // SAFETY: `base` was mapped with this length, and no reference outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), Self::bytes(self.count)) };
    }
}
