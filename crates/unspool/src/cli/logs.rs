//! Options of `unspool logs`.

use std::ffi::OsString;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Go on with what comes, until it is interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last N of the lines that are there.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only lines of this level or worse: error, warning, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Only lines about tasks of this function.
    #[arg(long, value_name = "NAME")]
    pub(crate) func: Option<String>,
    /// Only lines since a time, or not older than so long: `10m`, `14:03`, `2026-11-26 14:03`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only what concerns this task, after its recorded attempts: its path, the name of its file, or a
    /// part of its id.
    #[arg(value_name = "TASK", add = super::completions::of_tasks())]
    pub(crate) task: Option<OsString>,
}
