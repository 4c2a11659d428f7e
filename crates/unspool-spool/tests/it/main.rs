//! The spool directory through its public face: real files, real locks, real processes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]
#![expect(clippy::disallowed_methods, reason = "tests make and damage files on their own")]

#[path = "../../../unspool-sys/tests/it/child.rs"]
mod child;
mod fixture;
mod fsck;
mod os;
mod receive;
mod roles;

mod access;
mod adopt;
mod bounds;
mod cancel;
mod capsule;
mod claim;
mod durability;
mod finish;
mod killed;
mod list;
mod open;
mod quarantine;
mod read;
mod scan;
mod shared;
mod steer;
mod submit;
mod trust;
mod watch;
