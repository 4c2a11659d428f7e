//! The one reader of the process environment: variables, and the few facts about the process and
//! the machine that uWSGI's magic variables show.
//!
//! An [`Environment`] is a snapshot, so that everything after it is a function of its input. Values
//! of variables may be secrets: they never appear in a `Debug` form or a message.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `UNSPOOL_SPOOL`: the spool directory that a process outside a daemon submits to. Since 0.1.
pub const SPOOL_VARIABLE: &str = "UNSPOOL_SPOOL";

/// `UNSPOOL_CONFIG`: the ini file (or `FILE:SECTION`) whose `spooler` options name the spool
/// directories of a process outside a daemon. `UNSPOOL_SPOOL` goes before it. Since 0.1.
pub const CONFIG_VARIABLE: &str = "UNSPOOL_CONFIG";

/// `UNSPOOL_LOG`: what the command logs, a level (`debug`) or a list of `target=level`. Since 0.1.
pub const LOG_VARIABLE: &str = "UNSPOOL_LOG";

/// Variables with uWSGI's prefix that are messages between its own processes, not options.
const NOT_OPTIONS: [&str; 8] = [
    "UWSGI_RELOADS",
    "UWSGI_VASSALS_DIR",
    "UWSGI_EMPEROR_FD",
    "UWSGI_BROODLORD_NUM",
    "UWSGI_EMPEROR_FD_CONFIG",
    "UWSGI_EMPEROR_PROXY",
    "UWSGI_JAIL_PID",
    "UWSGI_ORIGINAL_PROC_NAME",
];

/// Where a process outside a daemon is told to find its spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProducerSource {
    /// From [`SPOOL_VARIABLE`]: a directory.
    Spool(PathBuf),
    /// From [`CONFIG_VARIABLE`]: an ini file, to be passed to [`crate::load`] as an argument.
    Config(PathBuf),
}

/// The spool that the environment names, if it names one; an empty variable counts as unset.
pub fn spool_from_environment(environment: &Environment) -> Option<ProducerSource> {
    let named = |variable: &str| {
        environment.variable(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    named(SPOOL_VARIABLE)
        .map(ProducerSource::Spool)
        .or_else(|| named(CONFIG_VARIABLE).map(ProducerSource::Config))
}

/// A snapshot of the environment of this process.
#[derive(Clone)]
pub struct Environment {
    variables: Vec<(OsString, OsString)>,
    current_directory: Option<PathBuf>,
    hostname: String,
    binary: PathBuf,
    owner: Option<(u32, u32)>,
    /// Since the epoch.
    started: Duration,
}

impl Environment {
    /// The value of [`LOG_VARIABLE`], if it is text.
    pub fn log_filter(&self) -> Option<String> {
        self.variable(LOG_VARIABLE).and_then(|value| value.to_str()).map(str::to_owned)
    }

    /// Whether what goes to a terminal may have colours: not where `NO_COLOR` has a value.
    pub fn wants_colour(&self) -> bool {
        self.variable("NO_COLOR").is_none_or(OsStr::is_empty)
    }

    /// What this process sees now.
    pub fn current() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    /// These variables instead of the real ones; everything else as it is.
    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            current_directory: std::env::current_dir().ok(),
            hostname: read_hostname(),
            binary: std::env::current_exe().unwrap_or_default(),
            owner: read_owner(),
            started: wall_clock(),
        }
    }

    /// The same with another start directory, against which relative paths are resolved.
    #[must_use]
    pub fn with_current_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.current_directory = Some(directory.into());
        self
    }

    /// The same on a machine of another name.
    #[must_use]
    pub fn with_hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// The value of a variable; the first one if it is set twice.
    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let name = name.as_ref();
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// Where a program keeps its state, best first: what the service manager made for it, else the
    /// user's own places.
    pub fn state_directories(&self) -> Vec<PathBuf> {
        let absolute = |variable: &str| {
            let value = self.variable(variable)?.to_str()?.split(':').next()?;
            Some(PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        [
            absolute("STATE_DIRECTORY"),
            absolute("XDG_STATE_HOME").map(|path| path.join("unspool")),
            absolute("HOME").map(|path| path.join(".local/state/unspool")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The directory the process was in, unless it no longer exists.
    pub fn current_directory(&self) -> Option<&Path> {
        self.current_directory.as_deref()
    }

    /// The variables that are options: variable, option name, value.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&str, String, &OsStr)> {
        self.variables.iter().filter_map(|(variable, value)| {
            let variable = variable.to_str()?;
            let name = variable.strip_prefix("UWSGI_")?;
            if name.is_empty() || NOT_OPTIONS.contains(&variable) {
                return None;
            }
            Some((variable, name.to_lowercase().replace('_', "-"), value.as_os_str()))
        })
    }

    pub(crate) fn hostname(&self) -> &str {
        &self.hostname
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    /// The user and group of this process, where the system tells them through `/proc`.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("variables", &self.variables.len())
            .field("current_directory", &self.current_directory)
            .finish_non_exhaustive()
    }
}

/// The name that `/etc/passwd` or `/etc/group` gives to a number, else the number itself.
pub(crate) fn account_name(database: &str, id: u32) -> String {
    let number = id.to_string();
    let text = fs::read_to_string(database).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == number).then(|| name.to_owned())
        })
        .unwrap_or(number)
}

fn read_owner() -> Option<(u32, u32)> {
    fs::metadata("/proc/self").ok().map(|metadata| (metadata.uid(), metadata.gid()))
}

fn read_hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim_end().to_owned())
        .unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "%t shows the time of the snapshot, once")]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_options() {
        let environment = Environment::from_pairs([
            ("UWSGI_SPOOLER_PROCESSES", "2"),
            ("UWSGI_RELOADS", "1"),
            ("UWSGI_", "x"),
            ("PATH", "/bin"),
            ("uwsgi_master", "1"),
        ]);
        let options: Vec<_> = environment.options().map(|(_, name, _)| name).collect();
        assert_eq!(options, ["spooler-processes"]);
    }

    #[test]
    fn producer_source_prefers_the_directory() {
        let check = |pairs: &[(&str, &str)], expected: Option<ProducerSource>| {
            let environment = Environment::from_pairs(pairs.iter().copied());
            assert_eq!(spool_from_environment(&environment), expected, "{pairs:?}");
        };
        check(&[], None);
        check(&[(SPOOL_VARIABLE, "")], None);
        check(&[(SPOOL_VARIABLE, "/s")], Some(ProducerSource::Spool("/s".into())));
        check(&[(CONFIG_VARIABLE, "a.ini")], Some(ProducerSource::Config("a.ini".into())));
        check(
            &[(CONFIG_VARIABLE, "a.ini"), (SPOOL_VARIABLE, "/s")],
            Some(ProducerSource::Spool("/s".into())),
        );
    }

    #[test]
    fn values_stay_out_of_debug_output() {
        let environment = Environment::from_pairs([("PASSWORD", "hunter2")]);
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
