//! System calls as other processes see them: locks, slots, sockets, signals, ends of children.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]
#![expect(clippy::disallowed_methods, reason = "tests make and damage files on their own")]

mod child;
mod fifo;
mod roles;

mod folder;
mod lock;
mod poll;
mod process;
mod signal;
mod slots;
mod socket;
