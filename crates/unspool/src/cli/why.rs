//! Options of `unspool why`.

use std::ffi::OsString;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool why`.
#[derive(Debug, Args)]
pub(crate) struct WhyOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, or its id, of which a part will do.
    #[arg(value_name = "TASK")]
    pub(crate) task: OsString,
}
