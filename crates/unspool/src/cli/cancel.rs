//! Options of `unspool cancel`, also called `unspool rm`.

use std::ffi::OsString;

use clap::Args;

use super::{FilterOptions, SpoolArgs};

/// Options of `unspool cancel`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct CancelOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Seconds that a running task has to end before its worker is killed: 0 kills at once, at most a day.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) grace: f64,
    /// Tell a running task to end, and do not wait until it has.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Delete tasks that were given up, too.
    #[arg(long)]
    pub(crate) dead: bool,
    /// Delete files in `corrupt/`, too.
    #[arg(long)]
    pub(crate) corrupt: bool,
    /// All tasks, or all that the filters leave; needs --yes.
    #[arg(long, conflicts_with = "tasks")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// With --all: do it.
    #[arg(long, requires = "all")]
    pub(crate) yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks(), required_unless_present_any = ["all", "func", "priority", "older", "newer"])]
    pub(crate) tasks: Vec<OsString>,
}
