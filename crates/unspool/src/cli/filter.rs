//! Options that choose some of many tasks.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::times::parse_age;

/// Which of many tasks are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterOptions {
    /// Only tasks of functions whose names fit this pattern of `*` and `?`; `-` is tasks that name none;
    /// repeatable.
    #[arg(long, value_name = "GLOB")]
    pub(crate) func: Vec<OsString>,
    /// Only tasks of this priority; `.` is tasks without one; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) priority: Vec<OsString>,
    /// Only tasks that were submitted so long ago: `90s`, `15min`, `3h`, `2d`.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) older: Option<Duration>,
    /// Only tasks that were submitted since.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) newer: Option<Duration>,
}

impl FilterOptions {
    /// Whether it leaves all.
    pub(crate) fn is_empty(&self) -> bool {
        let ages = self.older.or(self.newer);
        self.func.is_empty() && self.priority.is_empty() && ages.is_none()
    }
}
