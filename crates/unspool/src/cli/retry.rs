//! Options of `unspool retry`.

use std::ffi::OsString;

use clap::Args;

use super::{FilterOptions, SpoolArgs};

/// Options of `unspool retry`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct RetryOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// All tasks that were given up or wait for another attempt, or those of them that the filters leave.
    #[arg(long, conflicts_with = "tasks")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// Also files in `corrupt/`, as they are.
    #[arg(long)]
    pub(crate) corrupt: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks(), required_unless_present_any = ["all", "func", "priority", "older", "newer"])]
    pub(crate) tasks: Vec<OsString>,
}
