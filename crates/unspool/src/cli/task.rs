//! Options of commands that look at one task: `unspool why` and `unspool stack`.

use std::ffi::OsString;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool why` and `unspool stack`.
#[derive(Debug, Args)]
pub(crate) struct TaskOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, or its id, of which a part will do.
    #[arg(value_name = "TASK", add = super::completions::of_tasks())]
    pub(crate) task: OsString,
}
