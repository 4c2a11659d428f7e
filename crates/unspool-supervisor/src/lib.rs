//! The daemon's inside: dispatch of tasks and supervision of processes.
//!
//! Two kinds of actors. A `dispatcher` is one thread per spool: it owns the truth about the tasks
//! of that spool and does all file I/O. The `supervisor` is the main thread: it owns the processes
//! and the clock; between start and end it does no file I/O on a spool, so that none can stall it. They talk by the
//! closed message types of `events`. Nothing here prints, exits or knows Python.

mod backoff;
mod dispatcher;
mod events;
mod settings;
mod supervisor;

pub use settings::{AdoptChoice, AdoptSettings, MuleSettings, Settings, SpoolSettings, ZygoteSettings};
pub use supervisor::{RunError, run};
