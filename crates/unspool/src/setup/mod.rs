//! From a process that was started to one that can be the daemon: user, background, pid files, log
//! files. All of it before any thread exists.
//!
//! The order is uWSGI's: the mask, `immediate-uid`, `hook-asap`, the background, `pidfile` and
//! `logto` as the user of the start, `hook-as-root`, the sockets of web workers, then the user that it
//! becomes, `hook-as-user`, then `pidfile2` and `logto2`.

mod hooks;
mod identity;
mod pidfile;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use unspool_config::{Config, DaemonConfig, HookPhase};
use unspool_spool::OpenError;
use unspool_sys::background::{self, Launcher, Side};
use unspool_sys::{files, host};

pub(crate) use self::hooks::take_one;
use self::hooks::{Flow, StepError, Steps};
use self::identity::{Identity, UnknownIdentity};
pub(crate) use self::pidfile::{PidFiles, read as read_pid};
use crate::exit;
use crate::listening::{self, Bound, ListenError};
use crate::log_rotation::Rotation;
use crate::log_sink::Sink;
use crate::logging;
use crate::resolve::own_spoolers;
use crate::security::{self, SecurityError};

/// What keeps the process from becoming the daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SetupError {
    #[error(transparent)]
    Identity(#[from] UnknownIdentity),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("`{option}`: cannot become {who}")]
    Become { option: &'static str, who: String, source: io::Error },
    #[error("`{option}`: cannot open the log `{path}`")]
    Log { option: &'static str, path: PathBuf, source: io::Error },
    #[error("`{option}`: cannot write `{path}`")]
    PidFile { option: &'static str, path: PathBuf, source: io::Error },
    #[error("`log-date`: `{format}` is no format of strftime: {problem}")]
    LogDate { format: String, problem: String },
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot {action}")]
    System { action: &'static str, source: io::Error },
}

impl SetupError {
    /// Whether it would be none if root did the same.
    pub(crate) fn is_about_root(&self) -> bool {
        matches!(self, Self::Identity(UnknownIdentity::NotRoot { .. }))
    }

    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Security(error) => error.exit_status(),
            Self::Listen(error) => error.exit_status(),
            Self::Identity(_) | Self::LogDate { .. } => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// The process after its set-up.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where log lines go; empty: to standard error, as it is.
    pub(crate) sinks: Vec<Sink>,
    pub(crate) pid_files: PidFiles,
    /// Who waits for the daemon to be up.
    pub(crate) launcher: Option<Launcher>,
    /// What deserves a line once there is a log.
    pub(crate) remarks: Vec<String>,
    /// The user that was taken on.
    pub(crate) became: Option<String>,
    /// Sockets that were bound before that; `None`: all are bound later.
    pub(crate) bound: Option<Bound>,
    /// The steps that are to be taken, and what those before have left.
    pub(crate) steps: Steps,
}

/// Which process goes on after the set-up.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The one that becomes the daemon.
    Daemon(Box<Process>),
    /// One that ends with this status: the one that was started, if the daemon is in the
    /// background, or one whose configuration says so.
    Ended(u8),
}

/// What can be found wrong without changing anything.
pub(crate) fn check(config: &DaemonConfig) -> Result<(), SetupError> {
    Identity::immediate(config)?;
    Identity::lasting(config)?;
    logging::check_date(&config.log_date)
        .map_err(|(format, problem)| SetupError::LogDate { format, problem })
}

/// Becomes the user that the daemon is, without anything else of its set-up. Returns the user's name,
/// if another one than before was asked for.
pub(crate) fn take_on_user(daemon: &DaemonConfig) -> Result<Option<String>, SetupError> {
    let early = Identity::immediate(daemon)?.take_on("immediate-uid")?;
    Ok(Identity::lasting(daemon)?.take_on("uid")?.or(early))
}

/// Sets the process up. What is wrong with the options is told before anything is changed.
pub(crate) fn begin(config: &Config) -> Result<Begun, SetupError> {
    let daemon = &config.daemon;
    check(daemon)?;
    if let Some(mask) = daemon.umask {
        host::set_umask(mask);
    }
    Identity::immediate(daemon)?.take_on("immediate-uid")?;
    // Asked anew: who is not root any more has nothing left to take on.
    let lasting = Identity::lasting(daemon)?;
    let stderr = background::keep_error_output().map(File::from);
    let stderr = stderr.map_err(system("keep the standard error"))?;
    let mut steps = Steps::new(&config.hooks);
    if steps.take(&[HookPhase::Asap], &stderr)? == Flow::End {
        return Ok(Begun::Ended(exit::OK));
    }
    let mut log: Option<(PathBuf, File)> = None;
    let mut launcher = None;
    if let Some(daemonize) = &daemon.daemonize {
        let option = if daemonize.after_import { "daemonize2" } else { "daemonize" };
        let file = open_log(option, &daemonize.log, daemon, &lasting)?;
        match background::fork_away().map_err(system("go into the background"))? {
            Side::Launcher(heard) => {
                return Ok(Begun::Ended(heard.wait().unwrap_or_else(|| {
                    let log = daemonize.log.display();
                    logging::complain_text(&format!(
                        "the daemon ended before it was up; its log `{log}` says why"
                    ));
                    exit::FAILED
                })));
            }
            Side::Daemon(to) => launcher = Some(to),
        }
        background::forget_input().map_err(system("open /dev/null"))?;
        log = Some((daemonize.log.clone(), file));
    }
    let mut remarks = Vec::new();
    let mut pid_files = PidFiles::new(daemon);
    remarks.extend(pid_files.write_as_starter()?);
    // As in uWSGI, `daemonize` has named the log already.
    if log.is_none()
        && let Some(path) = &daemon.logto
    {
        log = Some((path.clone(), open_log("logto", path, daemon, &lasting)?));
    }
    let access = security::access(config)?;
    // Outboxes are made in it, by the user that the daemon becomes.
    let outbox = config.network.outbox.as_deref();
    for directory in own_spoolers(config).iter().map(|s| s.path.as_path()).chain(outbox) {
        lasting.hand_over(directory, &access);
    }
    let output = log.as_ref().map_or(&stderr, |(_, file)| file);
    let Some(Became { user: became, bound }) = become_user(config, &lasting, &mut steps, output)?
    else {
        if let Some(launcher) = launcher {
            launcher.tell(exit::OK);
        }
        return Ok(Begun::Ended(exit::OK));
    };
    remarks.extend(pid_files.write_as_daemon()?);
    if let Some(path) = &daemon.logto2 {
        log = Some((path.clone(), open_log("logto2", path, daemon, &lasting)?));
    }
    let sinks = sinks(daemon, log, &stderr)?;
    let process = Process { sinks, pid_files, launcher, remarks, became, bound, steps };
    Ok(Begun::Daemon(Box::new(process)))
}

/// Whom the process has become, if another user than before was asked for, and what it bound before.
struct Became {
    user: Option<String>,
    bound: Option<Bound>,
}

/// Takes the steps before the user changes, binds what has to be bound before, changes it, and takes
/// those after it. `None`: a step ends the process.
fn become_user(
    config: &Config,
    lasting: &Identity,
    steps: &mut Steps,
    output: &File,
) -> Result<Option<Became>, SetupError> {
    let before = [HookPhase::PreJail, HookPhase::InJail, HookPhase::AsRoot];
    if steps.take(&before, output)? == Flow::End {
        return Ok(None);
    }
    let bound = listening::bind_early(config, lasting.owner())?;
    let user = lasting.take_on("uid")?;
    let goes_on = steps.take(&[HookPhase::AsUser], output)? != Flow::End;
    Ok(goes_on.then_some(Became { user, bound }))
}

/// What lets a user open a spool that it cannot open.
pub(crate) fn advice(user: &str, error: &OpenError) -> String {
    match error {
        OpenError::Create { path, .. } => {
            let path = path.display();
            format!("as `{user}`: `mkdir -p {path} && chown {user} {path}` as root makes it")
        }
        OpenError::Open { path, .. } | OpenError::NotWritable { path, .. } => {
            format!("as `{user}`: `chown -R {user} {}` as root gives it the spool", path.display())
        }
        _ => format!("as `{user}`"),
    }
}

/// Loggers take the place of a log file, as in uWSGI.
fn sinks(
    daemon: &DaemonConfig,
    log: Option<(PathBuf, File)>,
    stderr: &File,
) -> Result<Vec<Sink>, SetupError> {
    if daemon.loggers.is_empty() {
        let rotation = Some(Rotation::new(&daemon.log_file));
        return Ok(log.map(|(path, file)| Sink::file(&path, file, rotation)).into_iter().collect());
    }
    let open = |logger| {
        Sink::open(logger, stderr).map_err(|source| SetupError::Log {
            option: "logger",
            path: match logger {
                unspool_config::Logger::File { path, .. } => path.clone(),
                _ => PathBuf::from("-"),
            },
            source,
        })
    };
    daemon.loggers.iter().map(open).collect()
}

fn open_log(
    option: &'static str,
    path: &Path,
    daemon: &DaemonConfig,
    lasting: &Identity,
) -> Result<File, SetupError> {
    let kept = &daemon.log_file;
    let opened = Rotation::new(kept).open(path).and_then(|file| {
        // What is no regular file has nothing to be emptied of, and is others' too.
        if file.metadata()?.is_file() {
            if kept.truncate {
                files::empty(&file)?;
            }
            if kept.chown {
                lasting.give(&file)?;
            }
        }
        Ok(file)
    });
    opened.map_err(|source| SetupError::Log { option, path: path.to_owned(), source })
}

fn system(action: &'static str) -> impl Fn(io::Error) -> SetupError {
    move |source| SetupError::System { action, source }
}
