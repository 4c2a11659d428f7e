//! The options that limit workers, and those that say how many there are of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::error::ConfigError;
use crate::origin::Origin;
use crate::values::Value;

/// A shorter limit of a task's time is a mistake.
const HARAKIRI_MIN: Duration = Duration::from_millis(100);
/// How long an import may take unless it is said otherwise.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a worker may take from its fork until it is ready unless it is said otherwise.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// More processes than this for one spool or folder is a mistake.
const PROCESSES_MAX: u64 = 4096;

/// Whether workers are forked from a process that has imported the application (`spooler-fork`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// They are, until they turn out not to start.
    Auto,
    /// They are.
    Always,
    /// Each imports the application itself.
    Never,
}

impl Fork {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What limits workers. Sizes are in MiB, uWSGI's "MB"; what is unset limits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Tasks after which a worker is replaced; 0 is never.
    pub max_tasks: u64,
    /// Signals that a worker handles count as tasks.
    pub signal_as_task: bool,
    /// How long a task may run, and the handler of a signal that is meant for a spooler.
    pub harakiri: Option<Duration>,
    /// `harakiri`: how long other handlers of signals may run.
    pub handler_harakiri: Option<Duration>,
    /// No worker while there is no work.
    pub cheap: bool,
    /// How long the import of the application may take.
    pub import_timeout: Duration,
    /// How long a worker may take from its fork until it is ready.
    pub start_timeout: Duration,
    /// `spooler-fork`, if it was given: see [`Config::fork`].
    pub(crate) fork: Option<Fork>,
    /// After which a worker is replaced.
    pub lifetime: Option<Duration>,
    /// How much longer each next worker of a spool lasts, so that not all are replaced at once.
    pub lifetime_delta: Duration,
    /// Memory from which on a worker is replaced.
    pub reload_on_rss: Option<u64>,
    pub reload_on_as: Option<u64>,
    /// Memory from which on a worker is killed.
    pub evil_reload_on_rss: Option<u64>,
    pub evil_reload_on_as: Option<u64>,
    /// The system's own limits of a worker.
    pub limit_as: Option<u64>,
    pub limit_nproc: Option<u64>,
    /// `reload-mercy`: how long a stop or a reload waits for a worker.
    pub mercy: Option<Duration>,
    /// `worker-reload-mercy`: the same, and stronger.
    pub worker_mercy: Option<Duration>,
    /// Workers of single spools, or of folders of priorities; absolute.
    pub processes_of: Vec<(PathBuf, (u32, Origin))>,
    /// `spooler-stop-timeout` is stronger than both mercies.
    pub(crate) stop_timeout_given: bool,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            max_tasks: 0,
            signal_as_task: false,
            harakiri: None,
            handler_harakiri: None,
            cheap: false,
            import_timeout: IMPORT_TIMEOUT,
            start_timeout: START_TIMEOUT,
            fork: None,
            lifetime: None,
            lifetime_delta: Duration::ZERO,
            reload_on_rss: None,
            reload_on_as: None,
            evil_reload_on_rss: None,
            evil_reload_on_as: None,
            limit_as: None,
            limit_nproc: None,
            mercy: None,
            worker_mercy: None,
            processes_of: Vec::new(),
            stop_timeout_given: false,
        }
    }
}

impl WorkerOptions {
    /// How long a reload waits for workers of the old application; `None`: as long as they take.
    pub fn reload_mercy(&self) -> Option<Duration> {
        self.worker_mercy.or(self.mercy)
    }

    /// Workers of the spool, or the folder, of this path, if they were said for it alone.
    pub fn processes_of(&self, path: &Path) -> Option<u32> {
        self.processes_of.iter().find(|(of, _)| of == path).map(|(_, (count, _))| *count)
    }

    pub(crate) fn stop_timeout(&self, stop_timeout: Duration) -> Duration {
        let mercy = self.reload_mercy().filter(|_| !self.stop_timeout_given);
        mercy.unwrap_or(stop_timeout)
    }

    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(&mut self, value: Value<'_>, start: &Path) -> Result<bool, ConfigError> {
        let some = |number: u64| Some(number).filter(|number| *number > 0);
        match value.name() {
            "spooler-max-tasks" => self.max_tasks = value.number()?,
            "spooler-signal-as-task" => self.signal_as_task = value.switch(),
            "spooler-harakiri" => self.harakiri = harakiri(value)?,
            "harakiri" => self.handler_harakiri = harakiri(value)?,
            "spooler-cheap" => self.cheap = value.switch(),
            "spooler-import-timeout" => {
                self.import_timeout = value.seconds()?;
                if self.import_timeout.is_zero() {
                    return Err(value.invalid("no import ends at once; write seconds, as in 600"));
                }
            }
            "spooler-start-timeout" => {
                self.start_timeout = value.seconds()?;
                if self.start_timeout.is_zero() {
                    return Err(value.invalid("no worker starts at once; write seconds, as in 60"));
                }
            }
            "spooler-fork" => {
                let policies = [Fork::Auto, Fork::Always, Fork::Never];
                let policy = value.plain()?;
                let found = policies.into_iter().find(|known| known.as_str() == policy);
                let why = "write auto, always or never";
                self.fork = Some(found.ok_or_else(|| value.invalid(why))?);
            }
            "spooler-processes-of" => self.set_processes_of(value, start)?,
            "max-worker-lifetime" => {
                self.lifetime = Some(value.seconds()?).filter(|limit| !limit.is_zero());
            }
            "max-worker-lifetime-delta" => self.lifetime_delta = value.seconds()?,
            "reload-on-rss" => self.reload_on_rss = some(value.number()?),
            "reload-on-as" => self.reload_on_as = some(value.number()?),
            "evil-reload-on-rss" => self.evil_reload_on_rss = some(value.number()?),
            "evil-reload-on-as" => self.evil_reload_on_as = some(value.number()?),
            "limit-as" => self.limit_as = some(value.number()?),
            "limit-nproc" => self.limit_nproc = some(value.number()?),
            "reload-mercy" => self.mercy = Some(value.seconds()?),
            "worker-reload-mercy" => self.worker_mercy = Some(value.seconds()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `DIR=N`; the last one of a directory holds.
    fn set_processes_of(&mut self, value: Value<'_>, start: &Path) -> Result<(), ConfigError> {
        let parts = value.plain()?.rsplit_once('=');
        let parsed = parts.and_then(|(path, count)| {
            let count = count.trim().parse::<u64>().ok()?;
            let count = u32::try_from(count.min(PROCESSES_MAX + 1)).ok()?;
            Some((path.trim(), count)).filter(|(path, count)| !path.is_empty() && *count > 0)
        });
        let Some((path, count)) = parsed else {
            return Err(value.invalid(
                "write a spool's directory and a number of workers, as in \
                 `spooler-processes-of = /srv/spool=4`",
            ));
        };
        if u64::from(count) > PROCESSES_MAX {
            return Err(value.invalid("this is more than 4096; write a smaller number"));
        }
        let path = start.join(path);
        self.processes_of.retain(|(of, _)| *of != path);
        self.processes_of.push((path, (count, value.origin().clone())));
        Ok(())
    }
}

impl Config {
    /// How workers come to the application: `spooler-fork`, else what `lazy-apps` asks for.
    pub fn fork(&self) -> Fork {
        let asked = if self.lazy_apps { Fork::Never } else { Fork::Auto };
        self.workers.fork.unwrap_or(asked)
    }
}

fn harakiri(value: Value<'_>) -> Result<Option<Duration>, ConfigError> {
    let limit = value.seconds()?;
    if !limit.is_zero() && limit < HARAKIRI_MIN {
        return Err(value.invalid("this is less than 0.1 seconds; write more, or 0 for no limit"));
    }
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}
