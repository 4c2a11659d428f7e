//! How the daemon's process is set up and where it logs: uWSGI's options for users, pid files,
//! log files and process titles, as plain data.
//!
//! Users and groups stay names here: who they are is for the machine to say.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::settings::List;
use crate::values::Value;

/// The process and its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Names or numbers.
    pub uid: Option<String>,
    pub gid: Option<String>,
    pub add_gids: Vec<String>,
    /// Taken on before any file is opened.
    pub immediate_uid: Option<String>,
    pub immediate_gid: Option<String>,
    pub umask: Option<u32>,
    pub daemonize: Option<Daemonize>,
    /// Paths as written; each is relative to [`PidFiles`]' directories.
    pub pid_files: PidFiles,
    pub vacuum: bool,
    /// Absolute.
    pub logto: Option<PathBuf>,
    /// Absolute.
    pub logto2: Option<PathBuf>,
    /// Of the file of `daemonize`, `logto` or `logto2`, not of loggers, which have their own.
    pub log_file: LogFile,
    pub loggers: Vec<Logger>,
    pub log_date: LogDate,
    pub log_form: LogForm,
    /// `honour-stdin`: the application's processes have the standard input of the start.
    pub honour_stdin: bool,
    pub titles: Titles,
    /// SIGQUIT reloads, as in uWSGI; SIGTERM stops in any case.
    pub die_on_term: bool,
}

/// Going into the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemonize {
    /// Absolute.
    pub log: PathBuf,
    /// `daemonize2`: the command waits until the application was imported.
    pub after_import: bool,
}

/// Files that tell the daemon's process. All are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PidFiles {
    /// Written by the user that starts the daemon.
    pub pidfile: Option<PathBuf>,
    /// Written by the user that it becomes.
    pub pidfile2: Option<PathBuf>,
    /// Written once everything runs.
    pub safe_pidfile: Option<PathBuf>,
    pub safe_pidfile2: Option<PathBuf>,
}

/// How a log file is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFile {
    /// `log-maxsize`; `None`: it grows.
    pub max_bytes: Option<u64>,
    /// `log-backupname`, absolute: the one file that it is moved to, in the place of the one before.
    /// `None`: its own name and the time.
    pub backup: Option<PathBuf>,
    /// `log-truncate`: it is emptied at the start.
    pub truncate: bool,
    /// `logfile-chmod`; `None`: 0640 less the mask, and that of a file that is there.
    pub mode: Option<u32>,
    /// `log-reopen`: a reload opens it anew.
    pub reopen: bool,
    /// `logfile-chown`: it is given to the user that the daemon becomes.
    pub chown: bool,
}

/// A place that log lines go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logger {
    /// Appends to a file; absolute.
    File { path: PathBuf, rotation: LogFile },
    /// The standard error that the daemon was started with.
    Stdio,
    /// The machine's log, under this name.
    Syslog { name: String, facility: u8 },
    /// Datagrams to a socket file; absolute.
    UnixSocket(PathBuf),
    /// Datagrams to a host and port.
    UdpSocket(String),
}

/// `log-date`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogDate {
    #[default]
    Off,
    /// uWSGI's form, that of ctime.
    Usual,
    /// A format of strftime.
    Format(String),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogForm {
    /// Time, level, message, fields.
    #[default]
    Unspool,
    /// An object of JSON for each.
    Json,
    /// The lines of uWSGI's spooler, as they are.
    Uwsgi,
}

/// Process titles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Titles {
    /// Of every process; `None`: a name for each kind.
    pub name: Option<String>,
    /// Of the daemon.
    pub master: Option<String>,
    pub prefix: String,
    pub append: String,
}

impl Titles {
    /// Whether an option asks for a title of the daemon's.
    pub fn of_daemon(&self) -> Option<String> {
        let asked = self.master.as_deref().or(self.name.as_deref());
        let decorated = !self.prefix.is_empty() || !self.append.is_empty();
        let name = asked.or(decorated.then_some("unspool"))?;
        Some(format!("{}{name}{}", self.prefix, self.append))
    }
}

/// The directories that paths are relative to, as in uWSGI: that of the start, and where the daemon
/// changes to.
pub(crate) struct Bases<'a> {
    pub(crate) start: &'a Path,
    pub(crate) chdir: &'a Path,
}

impl DaemonConfig {
    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(&mut self, value: Value<'_>, start: &Path) -> Result<bool, ConfigError> {
        Ok(self.apply_identity(value)?
            || self.apply_files(value, start)?
            || self.apply_log(value, start)?
            || self.apply_titles(value))
    }

    fn apply_identity(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        match value.name() {
            "uid" => self.uid = Some(value.plain()?.to_owned()),
            "gid" => self.gid = Some(value.plain()?.to_owned()),
            "add-gid" => self.add_gids.push(value.plain()?.to_owned()),
            "immediate-uid" => self.immediate_uid = Some(value.plain()?.to_owned()),
            "immediate-gid" => self.immediate_gid = Some(value.plain()?.to_owned()),
            "umask" => {
                let mask = u32::from_str_radix(value.plain()?, 8).ok().filter(|&m| m <= 0o777);
                let mask = mask.ok_or_else(|| {
                    value.invalid("this is not a mask; write three octal digits, as in 022")
                })?;
                self.umask = Some(mask);
            }
            "die-on-term" => self.die_on_term = value.switch(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply_files(&mut self, value: Value<'_>, start: &Path) -> Result<bool, ConfigError> {
        let path = || value.plain().map(PathBuf::from);
        match value.name() {
            "daemonize" | "daemonize2" => {
                let after_import = value.name() == "daemonize2";
                self.daemonize = Some(Daemonize { log: start.join(path()?), after_import });
            }
            "pidfile" => self.pid_files.pidfile = Some(start.join(path()?)),
            // Joined to `chdir` once that is known.
            "pidfile2" => self.pid_files.pidfile2 = Some(path()?),
            "safe-pidfile" => self.pid_files.safe_pidfile = Some(path()?),
            "safe-pidfile2" => self.pid_files.safe_pidfile2 = Some(path()?),
            "vacuum" => self.vacuum = value.switch(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply_log(&mut self, value: Value<'_>, start: &Path) -> Result<bool, ConfigError> {
        match value.name() {
            "logto" => self.logto = Some(start.join(value.plain()?)),
            "logto2" => self.logto2 = Some(start.join(value.plain()?)),
            "log-maxsize" => {
                self.log_file.max_bytes = Some(value.number()?).filter(|bytes| *bytes > 0);
            }
            "log-backupname" => self.log_file.backup = Some(PathBuf::from(value.plain()?)),
            "log-truncate" => self.log_file.truncate = value.switch(),
            "logfile-chmod" => {
                let mode = u32::from_str_radix(value.plain()?, 8).ok().filter(|&m| m <= 0o777);
                self.log_file.mode = Some(mode.ok_or_else(|| {
                    value.invalid("this is no mode; write three octal digits, as in 640")
                })?);
            }
            "log-reopen" => self.log_file.reopen = value.switch(),
            "honour-stdin" => self.honour_stdin = value.switch(),
            "logfile-chown" => self.log_file.chown = value.switch(),
            "logger" => self.loggers.push(logger(value, value.plain()?)?),
            "log-syslog" => {
                let text = value.text();
                let given = !text.is_empty() && text != "true";
                let name = if given { format!("syslog:{text}") } else { "syslog".to_owned() };
                self.loggers.push(logger(value, &name)?);
            }
            "log-socket" => {
                let address = format!("socket:{}", value.plain()?);
                self.loggers.push(logger(value, &address)?);
            }
            "log-date" | "logdate" | "log-prefix" => {
                self.log_date = match value.text() {
                    "" | "true" | "1" => LogDate::Usual,
                    _ if !value.switch() => LogDate::Off,
                    format => LogDate::Format(format.to_owned()),
                };
            }
            "spooler-log-format" => {
                self.log_form = match value.plain()? {
                    "unspool" => LogForm::Unspool,
                    "json" => LogForm::Json,
                    "uwsgi" => LogForm::Uwsgi,
                    _ => return Err(value.invalid("write unspool, json or uwsgi")),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply_titles(&mut self, value: Value<'_>) -> bool {
        let text = value.text();
        match value.name() {
            "procname" => self.titles.name = Some(text.to_owned()),
            "procname-master" => self.titles.master = Some(text.to_owned()),
            "procname-prefix" => text.clone_into(&mut self.titles.prefix),
            "procname-prefix-spaced" => self.titles.prefix = format!("{text} "),
            "procname-append" => text.clone_into(&mut self.titles.append),
            _ => return false,
        }
        true
    }

    /// Makes the paths absolute that are relative to `chdir`.
    pub(crate) fn finish(&mut self, bases: &Bases<'_>) {
        let files = &mut self.pid_files;
        for path in [&mut files.pidfile2, &mut files.safe_pidfile, &mut files.safe_pidfile2]
            .into_iter()
            .flatten()
        {
            *path = bases.chdir.join(&path);
        }
        if let Some(backup) = &mut self.log_file.backup {
            *backup = bases.chdir.join(&backup);
        }
        for logger in &mut self.loggers {
            match logger {
                Logger::UnixSocket(path) => *path = bases.chdir.join(&path),
                Logger::File { path, rotation } => {
                    *path = bases.chdir.join(&path);
                    if let Some(backup) = &mut rotation.backup {
                        *backup = bases.chdir.join(&backup);
                    }
                }
                _ => {}
            }
        }
        if let Some(daemonize) = &mut self.daemonize {
            daemonize.log = bases.start.join(&daemonize.log);
        }
    }

    /// The settings as `unspool config` shows them.
    pub(crate) fn list(&self, list: &mut List<'_>) {
        list.some("uid", self.uid.as_deref());
        list.some("gid", self.gid.as_deref());
        list.some("immediate-uid", self.immediate_uid.as_deref());
        list.some("immediate-gid", self.immediate_gid.as_deref());
        list.some("umask", self.umask.map(|mask| format!("{mask:03o}")));
        if let Some(daemonize) = &self.daemonize {
            let name = if daemonize.after_import { "daemonize2" } else { "daemonize" };
            list.one(name, daemonize.log.display());
        }
        let files = &self.pid_files;
        for (name, path) in [
            ("pidfile", &files.pidfile),
            ("pidfile2", &files.pidfile2),
            ("safe-pidfile", &files.safe_pidfile),
            ("safe-pidfile2", &files.safe_pidfile2),
            ("logto", &self.logto),
            ("logto2", &self.logto2),
        ] {
            list.some(name, path.as_deref().map(Path::display));
        }
        let rotation = &self.log_file;
        list.some("log-maxsize", rotation.max_bytes);
        list.some("log-backupname", rotation.backup.as_deref().map(Path::display));
        if rotation.truncate {
            list.one("log-truncate", true);
        }
        list.some("logfile-chmod", rotation.mode.map(|mode| format!("{mode:03o}")));
        if rotation.chown {
            list.one("logfile-chown", true);
        }
        if self.vacuum {
            list.one("vacuum", true);
        }
        if self.die_on_term {
            list.one("die-on-term", true);
        }
        match &self.log_date {
            LogDate::Off => {}
            LogDate::Usual => list.one("log-date", true),
            LogDate::Format(format) => list.one("log-date", format),
        }
        let form = match self.log_form {
            LogForm::Unspool => "unspool",
            LogForm::Json => "json",
            LogForm::Uwsgi => "uwsgi",
        };
        list.one("spooler-log-format", form);
    }
}

/// `[NAME] KIND[:REST]`.
fn logger(value: Value<'_>, text: &str) -> Result<Logger, ConfigError> {
    // uWSGI's names serve its routing of lines; here each logger gets all of them.
    let text = match text.split_once(' ') {
        Some((name, rest)) if !name.contains(':') && !rest.trim().is_empty() => rest.trim(),
        _ => text,
    };
    let (kind, rest) = text.split_once(':').map_or((text, ""), |(kind, rest)| (kind, rest));
    match kind {
        "stdio" => Ok(Logger::Stdio),
        "file" | "socket" if rest.is_empty() => Err(value.invalid(
            "the address is missing; write file:PATH, socket:PATH or \
                               socket:HOST:PORT",
        )),
        "file" => file_logger(value, rest),
        "socket" => Ok(match rest.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Logger::UdpSocket(rest.to_owned()),
            _ => Logger::UnixSocket(rest.into()),
        }),
        "syslog" => {
            let (name, facility) = rest.split_once(',').unwrap_or((rest, ""));
            let known =
                || FACILITIES.iter().find(|(name, _)| *name == facility).map(|(_, number)| *number);
            let facility = if facility.is_empty() { Some(FACILITY) } else { known() };
            let facility = facility.ok_or_else(|| {
                value.invalid("this facility is not known; write daemon, user, local0 to local7")
            })?;
            let name = if name.is_empty() { "unspool" } else { name };
            Ok(Logger::Syslog { name: name.to_owned(), facility })
        }
        _ => Err(value.invalid(
            "there is no such logger; write file:PATH, stdio, syslog[:NAME[,FACILITY]], \
             socket:PATH or socket:HOST:PORT",
        )),
    }
}

/// `PATH`, or `logfile=PATH` and other keys behind commas, as in uWSGI.
fn file_logger(value: Value<'_>, text: &str) -> Result<Logger, ConfigError> {
    let mut rotation = LogFile::default();
    if !text.contains('=') {
        return Ok(Logger::File { path: text.into(), rotation });
    }
    let mut path = None;
    for pair in text.split(',') {
        let (key, given) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "logfile" if !given.is_empty() => path = Some(PathBuf::from(given)),
            "backupname" if !given.is_empty() => rotation.backup = Some(given.into()),
            "maxsize" => {
                let bytes: u64 =
                    given.parse().map_err(|_| value.invalid("`maxsize` is no number of bytes"))?;
                rotation.max_bytes = Some(bytes).filter(|bytes| *bytes > 0);
            }
            // A path may have such a sign in it.
            _ if !text.contains("logfile=") => {
                return Ok(Logger::File { path: text.into(), rotation });
            }
            _ => {
                return Err(value.invalid("the keys of a file are logfile, maxsize and backupname"));
            }
        }
    }
    let path = path.ok_or_else(|| value.invalid("the file is missing; write logfile=PATH"))?;
    Ok(Logger::File { path, rotation })
}

/// "daemon".
const FACILITY: u8 = 3;
/// Of RFC 5424, under the names of syslog.h.
const FACILITIES: [(&str, u8); 14] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("news", 7),
    ("cron", 9),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
