//! The daemon's inside: dispatch of tasks and supervision of processes.
//!
//! Two kinds of actors. A `dispatcher` is one thread per spool: it owns the truth about the tasks
//! of that spool and does all file I/O. The `supervisor` is the main thread: it owns the processes
//! and the clock; between start and end it does no file I/O on a spool, so that none can stall it. They talk by the
//! closed message types of `events`. Nothing here prints, exits or knows Python.

mod backoff;
mod dispatcher;
mod events;
pub mod explanation;
mod inquiry;
pub mod journal;
mod limits;
mod programs;
mod python;
mod settings;
pub mod snapshot;
mod supervisor;
mod uwsgi_lines;

pub use inquiry::{Inquirer, Inquiries, Reply, inquiries};
pub use limits::{Dedicated, Limits, MemoryLimits};
pub use programs::{AttachedDaemon, CronCommand, CronFields, ProgramSettings, Surroundings};
pub use python::python_program;
pub use settings::{
    AdoptChoice, AdoptSettings, ForkPolicy, HookStep, Moment, Moments, MuleSettings, OnQuit,
    RetrySettings, Settings, SpoolSettings, Touch, TouchAction, WatchSettings, WebSettings,
    ZygoteSettings,
};
pub use snapshot::Snapshot;
pub use supervisor::{RunError, configured_entries, next_minute, run};
