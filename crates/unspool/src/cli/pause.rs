//! Options of `unspool pause`, `resume` and `drain`.

use std::ffi::OsString;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool pause`.
#[derive(Debug, Args)]
pub(crate) struct PauseOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Why, for those who find it paused.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    /// Pause nothing, list what is paused.
    #[arg(long, conflicts_with_all = ["priority", "func", "why"])]
    pub(crate) list: bool,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which part of a spool is meant.
#[derive(Debug, Args)]
pub(crate) struct PartArgs {
    /// Only tasks of this priority; `.` is tasks without one.
    #[arg(long, value_name = "NAME", conflicts_with = "func")]
    pub(crate) priority: Option<OsString>,
    /// Only tasks of this function.
    #[arg(long, value_name = "NAME")]
    pub(crate) func: Option<OsString>,
}

/// Options of `unspool resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Everything that is paused, also if the record of that is damaged.
    #[arg(long, conflicts_with_all = ["priority", "func"])]
    pub(crate) all: bool,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `unspool drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Wait so many seconds at most [default: until nothing runs].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// Pause nothing: wait until nothing is due and nothing runs.
    #[arg(long, conflicts_with = "why")]
    pub(crate) empty: bool,
    /// Why, for those who find it paused.
    #[arg(long, value_name = "TEXT", default_value = "drained")]
    pub(crate) why: String,
    /// Print JSON, an object for each spool.
    #[arg(long)]
    pub(crate) json: bool,
}
