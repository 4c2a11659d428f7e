//! Garbage: what submitters left that died while they wrote a task.

use std::io;

use unspool_sys::Folder;

use crate::is_aside_name;

/// Deletes the file of a submission that never came to its end. Returns whether it was there.
///
/// The caller has seen that it is old: a submission takes milliseconds, a day is
/// [`GARBAGE_AGE_NS`].
pub fn delete_garbage(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    if is_aside_name(name) { folder.unlink(name) } else { Ok(false) }
}

/// Nanoseconds after which the file of a submission has no writer any more.
pub const GARBAGE_AGE_NS: i64 = 24 * 3600 * 1_000_000_000;
