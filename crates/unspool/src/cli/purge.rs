//! Options of `unspool purge`.

use clap::{ArgGroup, Args, ValueEnum};

use super::{FilterOptions, SpoolArgs};

/// Options of `unspool purge`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct PurgeOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Tasks that were given up, and records without a task.
    #[arg(long, group = "what")]
    pub(crate) dead: bool,
    /// Files in `corrupt/`.
    #[arg(long, group = "what")]
    pub(crate) corrupt: bool,
    /// Tasks that wait; those that run stay.
    #[arg(long, group = "what")]
    pub(crate) pending: bool,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// Of those that wait only these; repeatable.
    #[arg(long, value_name = "STATE", requires = "pending", help_heading = "Filters")]
    pub(crate) state: Vec<PurgedState>,
    /// Count them, and delete nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without a question.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A state in which a task may be purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PurgedState {
    /// It waits for a worker.
    Due,
    /// Its time has not come.
    Delayed,
    /// It failed, and waits for another try.
    Retrying,
    /// Its file is short or damaged, and may still be written.
    Torn,
}
