//! Options of `unspool stats`.

use std::num::NonZeroUsize;

use clap::Args;

use super::SpoolArgs;

/// Options of `unspool stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Also the N functions with the most tasks [default: 10], and all states. Opens every file: some
    /// ten seconds for a million tasks.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    pub(crate) functions: Option<NonZeroUsize>,
    /// Look at each file, however long that takes: not only for 0.4 s, and not at what a daemon knows.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
