//! The options that name programs: commands of crons, attached daemons, and timers of signals.
//!
//! Reads their small languages and says what is wrong with them; when and how something runs is the
//! supervisor's matter.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ConfigError;
use crate::notice::Notice;
use crate::origin::Origin;
use crate::secrets;
use crate::values::Value;

/// A command that runs in each minute that matches; -1 is any, -N is every N.
#[derive(Clone, PartialEq, Eq)]
pub struct CronCommand {
    pub minute: i32,
    pub hour: i32,
    pub day: i32,
    pub month: i32,
    /// 0 and 7 are Sunday.
    pub weekday: i32,
    /// A line of shell.
    pub command: String,
    /// The command as it may be shown.
    pub shown: String,
    /// Not started while it runs.
    pub unique: bool,
    /// It is killed after so long; `None`: after `cron-harakiri`.
    pub harakiri: Option<Duration>,
    pub origin: Origin,
}

/// A program that is kept running.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachedDaemon {
    /// A line of shell.
    pub command: String,
    /// The command as it may be shown.
    pub shown: String,
    /// It is known by this file, may have been started by others, and is not stopped.
    pub pidfile: Option<PathBuf>,
    /// It stays in the foreground, and the pidfile is written for it.
    pub daemonize: bool,
    /// When it ends, unspool stops.
    pub control: bool,
    /// How often its pidfile is looked at.
    pub frequency: Duration,
    /// The number of the signal that asks it to end.
    pub stop_signal: i32,
    /// The number of the signal that a reload sends; `None`: a reload restarts it.
    pub reload_signal: Option<i32>,
    /// Files whose change is a reload of this one.
    pub touch: Vec<PathBuf>,
    /// Longest pause before it is started again.
    pub throttle_max: Option<Duration>,
    pub uid: Option<String>,
    pub gid: Option<String>,
    /// The directory it is started in, unless it is that of the application.
    pub chdir: Option<PathBuf>,
    pub origin: Origin,
}

/// A timer of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalTimer {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    pub every: Duration,
    pub origin: Origin,
}

/// All that runs besides tasks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Programs {
    pub crons: Vec<CronCommand>,
    /// Longest run of a cron's command; `None` is no limit.
    pub cron_harakiri: Option<Duration>,
    pub daemons: Vec<AttachedDaemon>,
    pub timers: Vec<SignalTimer>,
}

/// Commands may be secrets and stay out.
impl fmt::Debug for CronCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CronCommand").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachedDaemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AttachedDaemon")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Crons, and attached daemons, of one configuration.
const PROGRAMS_MAX: usize = 1024;
/// Between looks at a pidfile, as in uWSGI.
const FREQUENCY: Duration = Duration::from_secs(10);
const SIGTERM: i32 = 15;
const SIGNAL_MAX: u64 = 31;

const FIELDS: [(&str, i32, i32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("week", 0, 7)];

/// The options whose value is a line of shell, in which `$(...)` is meant.
pub(crate) fn is_command(name: &str) -> bool {
    matches!(
        name,
        "cron"
            | "cron2"
            | "unique-cron"
            | "attach-daemon"
            | "attach-daemon2"
            | "attach-control-daemon"
            | "smart-attach-daemon"
            | "smart-attach-daemon2"
    )
}

impl Programs {
    /// Takes one option; whether it is one of these.
    pub(crate) fn apply(
        &mut self,
        value: Value<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, ConfigError> {
        match value.name() {
            "cron" => self.add_cron(cron(value, false)?, value)?,
            "unique-cron" => self.add_cron(cron(value, true)?, value)?,
            "cron2" => {
                if let Some(cron) = cron2(value, notices)? {
                    self.add_cron(cron, value)?;
                }
            }
            "cron-harakiri" => {
                self.cron_harakiri = Some(value.seconds()?).filter(|limit| !limit.is_zero());
            }
            "attach-daemon" => self.add_daemon(attached(value, false)?, value)?,
            "attach-control-daemon" => self.add_daemon(attached(value, true)?, value)?,
            "smart-attach-daemon" => self.add_daemon(smart(value, false)?, value)?,
            "smart-attach-daemon2" => self.add_daemon(smart(value, true)?, value)?,
            "attach-daemon2" => self.add_daemon(daemon2(value, notices)?, value)?,
            "timer" | "signal-timer" | "rbtimer" | "signal-rbtimer" => {
                self.timers.push(timer(value)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add_cron(&mut self, cron: CronCommand, value: Value<'_>) -> Result<(), ConfigError> {
        if self.crons.len() >= PROGRAMS_MAX {
            return Err(value.invalid("there are 1024 crons already"));
        }
        self.crons.push(cron);
        Ok(())
    }

    fn add_daemon(&mut self, daemon: AttachedDaemon, value: Value<'_>) -> Result<(), ConfigError> {
        if self.daemons.len() >= PROGRAMS_MAX {
            return Err(value.invalid("there are 1024 attached daemons already"));
        }
        self.daemons.push(daemon);
        Ok(())
    }

    /// Makes paths absolute: programs run where the application does.
    pub(crate) fn finish(&mut self, base: &Path) {
        for daemon in &mut self.daemons {
            daemon.pidfile = daemon.pidfile.take().map(|path| base.join(path));
            daemon.chdir = daemon.chdir.take().map(|path| base.join(path));
            for path in &mut daemon.touch {
                *path = base.join(&*path);
            }
        }
    }
}

/// `M H D MON W command`.
fn cron(value: Value<'_>, unique: bool) -> Result<CronCommand, ConfigError> {
    let usage = "write five numbers and a command, as in `0 5 -1 -1 -1 command` (minute, hour, \
                 day, month, weekday; -1 is any, -N is every N)";
    let mut rest = value.text().trim();
    let mut numbers = [-1; 5];
    for (number, (name, ..)) in numbers.iter_mut().zip(FIELDS) {
        let Some((word, behind)) = split_word(rest) else { return Err(value.invalid(usage)) };
        *number = field(name, word).map_err(|problem| {
            let hint =
                if word.contains('*') { "write -1 for any and -N for every N; " } else { "" };
            value.invalid(&format!("{problem}; {hint}{usage}"))
        })?;
        rest = behind;
    }
    if rest.is_empty() {
        return Err(value.invalid(&format!("the command is missing; {usage}")));
    }
    let raw = value.told().trim();
    let told = (0..5).try_fold(raw, |rest, _| Some(split_word(rest)?.1));
    Ok(made(numbers, rest, told, unique, None, value))
}

fn made(
    [minute, hour, day, month, weekday]: [i32; 5],
    command: &str,
    told: Option<&str>,
    unique: bool,
    harakiri: Option<Duration>,
    value: Value<'_>,
) -> CronCommand {
    let (command, shown) = (command.to_owned(), shown(command, told, value));
    let origin = value.origin().clone();
    CronCommand { minute, hour, day, month, weekday, command, shown, unique, harakiri, origin }
}

/// A command for the log: as its author wrote it, if it takes in a secret.
fn shown(command: &str, told: Option<&str>, value: Value<'_>) -> String {
    let text = if value.secret() { told.unwrap_or("<hidden>") } else { command };
    secrets::shown(value.name(), text, false)
}

fn split_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    if text.is_empty() {
        return None;
    }
    Some(match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start_matches([' ', '\t'])),
        None => (text, ""),
    })
}

/// A field of a cron, or what is wrong with it.
fn field(name: &str, word: &str) -> Result<i32, String> {
    let (_, low, high) = FIELDS.into_iter().find(|field| field.0 == name).unwrap_or(FIELDS[0]);
    let number: i32 =
        word.parse().map_err(|_| format!("{name} is `{word}`, which is no number"))?;
    if number > high || (0..low).contains(&number) || number < -high - 1 {
        return Err(format!("{name} is {number}; give {low} to {high}, -1 or -N"));
    }
    Ok(number)
}

/// `key=value,key=value command`; without keys the command runs each minute.
fn cron2(value: Value<'_>, notices: &mut Vec<Notice>) -> Result<Option<CronCommand>, ConfigError> {
    let usage = "write `minute=0,hour=5,unique=1 command` (also day, month, week, harakiri)";
    let text = value.text().trim();
    let (keys, command) = match split_word(text) {
        Some((word, rest)) if word.contains('=') => (word.trim_matches('"'), rest),
        _ => ("", text),
    };
    if command.is_empty() {
        return Err(value.invalid(&format!("the command is missing; {usage}")));
    }
    let (mut numbers, mut unique, mut harakiri) = ([-1; 5], false, None);
    for pair in keys.split(',').filter(|_| !keys.is_empty()) {
        let Some((key, word)) = pair.split_once('=') else {
            return Err(value.invalid(&format!("a blank may not follow a comma; {usage}")));
        };
        match key {
            "unique" => unique = on(word),
            "harakiri" => {
                let seconds = word.parse().map_err(|_| {
                    value.invalid(&format!("harakiri is `{word}`, which is no number; {usage}"))
                })?;
                harakiri = Some(Duration::from_secs(seconds)).filter(|limit| !limit.is_zero());
            }
            "legion" => {
                notices.push(Notice::NoEffect {
                    name: value.name().to_owned(),
                    origin: value.origin().clone(),
                    reason: "unspool has no legions; remove `legion` to have it run",
                });
                return Ok(None);
            }
            _ => {
                let at = FIELDS.iter().position(|field| field.0 == key).ok_or_else(|| {
                    value.invalid(&format!("`{key}` is no part of a cron; {usage}"))
                })?;
                numbers[at] = field(key, word)
                    .map_err(|problem| value.invalid(&format!("{problem}; {usage}")))?;
            }
        }
    }
    let raw = value.told().trim();
    let told = if keys.is_empty() { Some(raw) } else { split_word(raw).map(|(_, rest)| rest) };
    Ok(Some(made(numbers, command, told, unique, harakiri, value)))
}

fn on(word: &str) -> bool {
    !matches!(word.to_lowercase().as_str(), "" | "0" | "false" | "off" | "no")
}

fn daemon(command: &str, told: Option<&str>, value: Value<'_>) -> AttachedDaemon {
    AttachedDaemon {
        command: command.to_owned(),
        shown: shown(command, told, value),
        pidfile: None,
        daemonize: false,
        control: false,
        frequency: FREQUENCY,
        stop_signal: SIGTERM,
        reload_signal: None,
        touch: Vec::new(),
        throttle_max: None,
        uid: None,
        gid: None,
        chdir: None,
        origin: value.origin().clone(),
    }
}

fn attached(value: Value<'_>, control: bool) -> Result<AttachedDaemon, ConfigError> {
    let command = value.text().trim();
    if command.is_empty() {
        return Err(value.invalid("the command is missing; write it after `=`"));
    }
    Ok(AttachedDaemon { control, ..daemon(command, Some(value.told().trim()), value) })
}

/// `PIDFILE command`.
fn smart(value: Value<'_>, daemonize: bool) -> Result<AttachedDaemon, ConfigError> {
    let (pidfile, command) = split_word(value.text().trim())
        .filter(|(_, command)| !command.is_empty())
        .ok_or_else(|| value.invalid("write `PIDFILE command`"))?;
    let told = split_word(value.told()).map(|(_, rest)| rest.trim());
    let pidfile = Some(PathBuf::from(pidfile));
    Ok(AttachedDaemon { pidfile, daemonize, ..daemon(command, told, value) })
}

/// `cmd=command,key=value`, where a backslash makes a comma part of the value.
fn daemon2(value: Value<'_>, notices: &mut Vec<Notice>) -> Result<AttachedDaemon, ConfigError> {
    let usage = "write `cmd=COMMAND` and, behind commas, pidfile=, daemonize=, control=, freq=, \
                 stopsignal=, reloadsignal=, touch=, max_throttle=, uid=, gid= or chdir=";
    let pairs = pairs(value.text());
    let command_of = |pairs: &[(String, Option<String>)]| {
        let keys = ["cmd", "command", "exec"];
        pairs.iter().rev().find(|(key, _)| keys.contains(&key.as_str())).and_then(|p| p.1.clone())
    };
    let command = command_of(&pairs)
        .filter(|command| !command.trim().is_empty())
        .ok_or_else(|| value.invalid(&format!("there is no command; {usage}")))?;
    let told = command_of(&self::pairs(value.told()));
    let mut made = daemon(command.trim(), told.as_deref(), value);
    for (key, word) in &pairs {
        let Some(word) = word else {
            return Err(value.invalid(&format!(
                "`{key}` is not of the form key=value (write `\\,` for a comma in a command); {usage}"
            )));
        };
        let number = || -> Result<u64, ConfigError> {
            word.parse().map_err(|_| {
                value.invalid(&format!("{key} is `{word}`, which is no number; {usage}"))
            })
        };
        let signal = || match number()? {
            0 => Ok(None),
            n if n <= SIGNAL_MAX => Ok(i32::try_from(n).ok()),
            n => Err(value.invalid(&format!("{key} is {n}; give the number of a signal"))),
        };
        match key.as_str() {
            "cmd" | "command" | "exec" => {}
            "pidfile" => made.pidfile = Some(PathBuf::from(word)),
            "daemonize" | "daemon" => made.daemonize = on(word),
            "control" => made.control = on(word),
            "freq" => made.frequency = Duration::from_secs(number()?.max(1)),
            "stopsignal" | "stop_signal" => made.stop_signal = signal()?.unwrap_or(SIGTERM),
            "reloadsignal" | "reload_signal" => made.reload_signal = signal()?,
            "touch" => made.touch.extend(word.split(';').map(PathBuf::from)),
            "max_throttle" => {
                made.throttle_max = Some(Duration::from_secs(number()?)).filter(|t| !t.is_zero());
            }
            "uid" => made.uid = Some(word.clone()),
            "gid" => made.gid = Some(word.clone()),
            "chdir" => made.chdir = Some(PathBuf::from(word)),
            "stdin" | "ns_pid" | "notifypid" | "legion" => notices.push(Notice::NoEffect {
                name: value.name().to_owned(),
                origin: value.origin().clone(),
                reason: "unspool has nothing for `stdin`, `ns_pid`, `notifypid` and `legion`",
            }),
            _ => return Err(value.invalid(&format!("`{key}` is no part of it; {usage}"))),
        }
    }
    if made.daemonize && made.pidfile.is_none() {
        return Err(value.invalid("`daemonize` needs a pidfile; add pidfile=FILE"));
    }
    Ok(made)
}

/// `a=b,c=d`. As in uWSGI a backslash before a comma keeps it, and quotes do not.
fn pairs(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            '\\' if characters.peek() == Some(&',') => {
                parts[last].push(',');
                characters.next();
            }
            ',' => parts.push(String::new()),
            other => parts[last].push(other),
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, word)) => (key.trim().to_owned(), Some(word.to_owned())),
            None => (part.to_owned(), None),
        })
        .collect()
}

/// `NUM SECS`.
fn timer(value: Value<'_>) -> Result<SignalTimer, ConfigError> {
    let usage = "write the number of a signal (0 to 255) and seconds, as in `17 60`";
    let mut words = value.plain()?.split_ascii_whitespace();
    let (Some(signal), Some(seconds), None) = (words.next(), words.next(), words.next()) else {
        return Err(value.invalid(usage));
    };
    let every = seconds
        .parse()
        .ok()
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .filter(|every| *every >= Duration::from_millis(1) && every.as_secs() < 1_000_000_000);
    match (signal.parse(), every) {
        (Ok(signal), Some(every)) => {
            Ok(SignalTimer { signal, every, origin: value.origin().clone() })
        }
        _ => Err(value.invalid(usage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_escaped_commas() {
        let found = pairs(r"cmd=echo a\,b , stopsignal=2,daemonize");
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                ("cmd".to_owned(), text("echo a,b")),
                ("stopsignal".to_owned(), text("2")),
                ("daemonize".to_owned(), None),
            ]
        );
    }
}
