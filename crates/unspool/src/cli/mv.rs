//! Options of `unspool mv`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::SpoolArgs;
use super::times::{parse_age, parse_time};

/// Options of `unspool mv`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct MvOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// The new priority.
    #[arg(long, value_name = "NAME", group = "change")]
    pub(crate) priority: Option<OsString>,
    /// No priority.
    #[arg(long, conflicts_with = "priority", group = "change")]
    pub(crate) none: bool,
    /// Due then: `now`, seconds since 1970, or a time such as `2026-11-26 14:03`.
    #[arg(long, value_name = "TIME", value_parser = parse_time, group = "change")]
    pub(crate) at: Option<i64>,
    /// Due so long from now: `90s`, `15min`, `3h`, `2d`.
    #[arg(long, value_name = "AGE", value_parser = parse_age, conflicts_with = "at", group = "change")]
    pub(crate) delay: Option<Duration>,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks(), required = true)]
    pub(crate) tasks: Vec<OsString>,
}
