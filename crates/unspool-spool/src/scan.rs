//! Scan: what is in a folder of the spool, a slice at a time.

use std::io;

use unspool_core::Priority;
use unspool_sys::folder::{FileKind, Folder, Listing, Stat};

use crate::{is_aside_name, is_task_name};

/// Something found in a folder.
#[derive(Debug)]
pub enum Found {
    /// A file with a task's name.
    Task {
        /// Its name.
        name: Vec<u8>,
        /// As it was when it was looked at.
        stat: Stat,
    },
    /// A submission in the making, or what is left of one.
    Aside {
        /// Its name.
        name: Vec<u8>,
        /// As it was when it was looked at.
        stat: Stat,
    },
    /// A name that cannot be looked at now: nothing is known of it.
    Unknown {
        /// It.
        name: Vec<u8>,
        /// What the system said.
        error: io::Error,
    },
    /// A folder that can be a priority. In the top folder it is one; elsewhere it is the caller's
    /// to ignore.
    Priority(Priority),
}

/// A walk through one folder. Holds no more than the kernel's buffer of it, however many files
/// there are.
#[derive(Debug)]
pub struct Scan {
    listing: Listing,
}

impl Scan {
    /// Starts at the beginning.
    pub fn start(folder: &Folder) -> io::Result<Self> {
        Ok(Self { listing: folder.list()? })
    }

    /// Looks at up to `count` more entries. Returns `false` when there are no more.
    pub fn step(
        &mut self,
        folder: &Folder,
        count: usize,
        mut each: impl FnMut(Found),
    ) -> io::Result<bool> {
        for _ in 0..count {
            let Some(entry) = self.listing.next() else { return Ok(false) };
            let (name, kind) = entry?;
            if is_task_name(&name) || is_aside_name(&name) {
                match folder.stat(&name) {
                    Ok(Some(stat)) if stat.kind != FileKind::File => {}
                    Ok(Some(stat)) if is_task_name(&name) => each(Found::Task { name, stat }),
                    Ok(Some(stat)) => each(Found::Aside { name, stat }),
                    Ok(None) => {}
                    Err(error) => each(Found::Unknown { name, error }),
                }
            } else if matches!(kind, None | Some(FileKind::Directory))
                && let Ok(priority) = Priority::new(&name)
            {
                match folder.stat(&name) {
                    Ok(Some(stat)) if stat.kind == FileKind::Directory => {
                        each(Found::Priority(priority));
                    }
                    Ok(_) => {}
                    Err(error) => each(Found::Unknown { name, error }),
                }
            }
        }
        Ok(true)
    }
}
