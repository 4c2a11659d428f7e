//! Options of `unspool show`.

use std::ffi::OsString;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool show`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct ShowOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Show values whose names look like those of secrets, too.
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// Print JSON.
    #[arg(long, group = "form")]
    pub(crate) json: bool,
    /// Write the value of this key as it is.
    #[arg(long, value_name = "KEY", group = "form")]
    pub(crate) raw: Option<OsString>,
    /// Write the body as it is.
    #[arg(long, group = "form")]
    pub(crate) body: bool,
    /// Write the task with all that is known of it, secrets too, as one file for `unspool replay`.
    #[arg(long, group = "form")]
    pub(crate) capsule: bool,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks())]
    pub(crate) task: OsString,
}
