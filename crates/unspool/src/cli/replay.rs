//! Options of `unspool replay`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool replay`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Import this module or file before, as `spooler-import` does; repeatable.
    #[arg(long, value_name = "MODULE")]
    pub(crate) import: Vec<String>,
    /// Stop in the debugger where it raises.
    #[arg(long)]
    pub(crate) pdb: bool,
    /// Show the call and do not make it.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run also what is not signed as it has to be, and load pickled arguments whoever wrote them.
    #[arg(long)]
    pub(crate) trust: bool,
    /// Print JSON: the call, or what came of it. What the task prints goes to standard error.
    #[arg(long, conflicts_with = "pdb")]
    pub(crate) json: bool,
    /// A capsule: a task as one file, from whatever machine; `-` is standard input.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) capsule: Option<PathBuf>,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks(), required_unless_present = "capsule", conflicts_with = "capsule")]
    pub(crate) task: Option<OsString>,
}
