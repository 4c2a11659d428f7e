//! Options of `unspool edit`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::SpoolArgs;
use super::times::{parse_age, parse_time};

/// Options of `unspool edit`.
#[derive(Debug, Args)]
pub(crate) struct EditOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Remove this argument; repeatable.
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<OsString>,
    /// The task's new body, from a file; `-` is standard input.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) body: Option<PathBuf>,
    /// Due then: `now`, seconds since 1970, or a time such as `2026-11-26 14:03`.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) at: Option<i64>,
    /// Due so long from now: `90s`, `15min`, `3h`, `2d`.
    #[arg(long, value_name = "AGE", value_parser = parse_age, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Show the arguments in an editor (VISUAL, EDITOR, else vi) and take what is saved.
    #[arg(long, conflicts_with_all = ["unset", "body", "arguments"])]
    pub(crate) editor: bool,
    /// A file of keys, with the first of which a signed task is signed anew [default: `spooler-keys` of
    /// the configuration].
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) keys: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The path of a task, the name of its file, its id, or a part of those.
    #[arg(value_name = "TASK", add = super::completions::of_tasks())]
    pub(crate) task: OsString,
    /// Arguments to set, as `key=value`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<OsString>,
}
