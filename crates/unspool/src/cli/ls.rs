//! Options of `unspool ls`.

use std::ffi::OsString;
use std::num::NonZeroUsize;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use unspool_spool::TaskState;

use super::{FilterOptions, SpoolArgs};

/// Options of `unspool ls`.
#[derive(Debug, Args)]
pub(crate) struct LsOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Only tasks in these states; repeatable, or with commas.
    #[arg(long, value_name = "STATE", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(TaskState::ALL.map(TaskState::as_str)))]
    pub(crate) state: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// Only tasks with this text in their arguments or body.
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<OsString>,
    /// At most so many tasks.
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<NonZeroUsize>,
    /// In this order, lowest first [default: as they lie there, printed as they are read].
    #[arg(long, value_enum, value_name = "KEY")]
    pub(crate) sort: Option<SortKey>,
    /// Highest first.
    #[arg(long, short = 'r', requires = "sort")]
    pub(crate) reverse: bool,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// By what tasks are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortKey {
    /// When they were submitted, the oldest first.
    #[value(alias = "age")]
    Submitted,
    /// When they are due, the earliest first.
    Due,
    /// By the priority that is served first, then by when they are due.
    Priority,
    /// By the name of the function.
    Function,
    /// In the order of a task's life.
    State,
    /// By how often they failed.
    Attempts,
    /// By the length of the file.
    Size,
}
