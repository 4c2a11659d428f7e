//! Options of `unspool schedule`.

use clap::{Args, Subcommand};

use super::SpoolArgs;

/// Options of `unspool schedule`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleCommand {
    #[command(subcommand)]
    pub(crate) deed: ScheduleDeed,
}

/// What is to be done with timers and crons.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleDeed {
    /// List timers and crons: when they fire, when they last did, which are paused.
    Ls(ScheduleList),
    /// Fire some now, whether or not they are paused. Needs a daemon.
    Run(ScheduleChoice),
    /// Keep some from firing until they are resumed, also after a restart.
    Pause(SchedulePause),
    /// Let some fire again.
    Resume(ScheduleChoice),
}

/// Options of `unspool schedule ls`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleList {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Some timers and crons.
#[derive(Debug, Args)]
pub(crate) struct ScheduleChoice {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Its id or at least four digits of its beginning, its function, with or without the module, or its command.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// Options of `unspool schedule pause`.
#[derive(Debug, Args)]
pub(crate) struct SchedulePause {
    #[command(flatten)]
    pub(crate) choice: ScheduleChoice,
    /// Why; shown wherever it is missed.
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}
