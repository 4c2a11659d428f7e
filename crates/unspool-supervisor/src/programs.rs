//! What the binary says about programs that run besides tasks.

use std::path::PathBuf;
use std::time::Duration;

use unspool_wire::control::TimerSpec;

/// The programs of a configuration.
#[derive(Debug, Default)]
pub struct ProgramSettings {
    /// Commands that run at times.
    pub crons: Vec<CronCommand>,
    /// Programs that are kept running.
    pub daemons: Vec<AttachedDaemon>,
    /// Timers that raise signals of the application.
    pub timers: Vec<TimerSpec>,
    /// What all of them find.
    pub surroundings: Surroundings,
}

/// What a program finds: the same as the application.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The working directory.
    pub directory: PathBuf,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// Variables to take away.
    pub unenv: Vec<String>,
}

/// The minutes in which a cron fires, in uWSGI's numbers: -1 is any, -N is every N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronFields {
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 1 to 31.
    pub day: i32,
    /// 1 to 12.
    pub month: i32,
    /// 0 to 7, Sunday is 0 or 7.
    pub weekday: i32,
}

/// A command that runs at times.
#[derive(Debug, Clone)]
pub struct CronCommand {
    /// When.
    pub when: CronFields,
    /// A line of shell.
    pub command: String,
    /// The command for the log.
    pub shown: String,
    /// It is not started while it runs.
    pub unique: bool,
    /// It is killed after so long.
    pub harakiri: Option<Duration>,
}

/// A program that is kept running.
#[derive(Debug, Clone)]
pub struct AttachedDaemon {
    /// A line of shell.
    pub command: String,
    /// The command for the log.
    pub shown: String,
    /// It is known by this file, and neither a stop nor a reload ends it.
    pub pidfile: Option<PathBuf>,
    /// It does not write the pidfile: that is done for it.
    pub daemonize: bool,
    /// When it ends, the daemon stops.
    pub control: bool,
    /// How long it may take to write its pidfile.
    pub frequency: Duration,
    /// The number of the signal that asks it to end.
    pub stop_signal: i32,
    /// The number of the signal that a reload sends; `None` restarts it.
    pub reload_signal: Option<i32>,
    /// Files whose change reloads it.
    pub touch: Vec<PathBuf>,
    /// Longest pause before it is started again.
    pub throttle_max: Option<Duration>,
    /// Its user, if it is another one.
    pub uid: Option<u32>,
    /// Its group, if it is another one.
    pub gid: Option<u32>,
    /// Its working directory, if it is another one.
    pub directory: Option<PathBuf>,
}
