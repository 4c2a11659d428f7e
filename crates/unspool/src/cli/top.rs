//! Options of `unspool top`.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;

use super::SpoolArgs;

/// Seconds between two looks: the fewest, and the most.
const INTERVAL_MIN: f64 = 0.1;
const INTERVAL_MAX: f64 = 3600.0;

/// Options of `unspool top`.
#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Seconds between two looks.
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End after so many looks.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// Print what one look sees, and end. So it is where standard output is no terminal, too.
    #[arg(long, conflicts_with = "count")]
    pub(crate) once: bool,
    /// Print JSON, an object in a line for each look.
    #[arg(long)]
    pub(crate) json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| (INTERVAL_MIN..=INTERVAL_MAX).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("give seconds from {INTERVAL_MIN} to {INTERVAL_MAX}"))
}
