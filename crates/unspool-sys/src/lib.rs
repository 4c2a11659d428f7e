//! The outside world: files, locks, events, sockets, processes, shared memory, clocks.
//!
//! The only crate that changes a file system or reads a clock, and with the Python binding the
//! only one with `unsafe`. It decides nothing: policies and file names live above.

pub mod background;
pub mod birthmark;
pub mod board;
pub mod clock;
pub mod descent;
pub mod document;
pub mod fifo;
pub mod file;
pub mod files;
pub mod folder;
pub mod host;
pub mod listen;
pub mod lock;
pub mod locked;
pub mod memory;
pub mod notify;
pub mod poll;
pub mod process;
pub mod program;
mod rows;
mod sharing;
pub mod signal;
pub mod slots;
pub mod socket;
pub mod space;
pub mod stack;
pub mod steps;
pub mod stream;
pub mod tail;
pub mod timer;
pub mod title;
#[cfg(feature = "trace")]
pub mod trace;
pub mod user;

pub use folder::{FileKind, Folder, Sharing, Stat};
pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
