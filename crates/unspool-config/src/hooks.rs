//! The options `hook-*` and `exec-*`: steps that run at moments of the daemon's life.
//!
//! Reads their small language and says what is wrong with it; when a step runs, and in which process,
//! is the matter of the binary, the supervisor and the application's processes.

use std::fmt;
use std::path::PathBuf;

use crate::error::ConfigError;
use crate::notice::Notice;
use crate::origin::Origin;
use crate::values::Value;

/// When a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPhase {
    /// Before anything else.
    Asap,
    PreJail,
    InJail,
    /// Before the user changes.
    AsRoot,
    /// After that.
    AsUser,
    /// Before the application is imported, in its process.
    PreApp,
    /// After it was.
    PostApp,
    /// At the start of each worker for ticks, which uWSGI's web workers would be.
    PostFork,
    /// Once the application is there, in the daemon.
    MasterStart,
    /// At the start of each mule.
    AsMule,
    /// When the daemon has stopped.
    AtExit,
}

impl HookPhase {
    /// As its options have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asap => "asap",
            Self::PreJail => "pre-jail",
            Self::InJail => "in-jail",
            Self::AsRoot => "as-root",
            Self::AsUser => "as-user",
            Self::PreApp => "pre-app",
            Self::PostApp => "post-app",
            Self::PostFork => "post-fork",
            Self::MasterStart => "master-start",
            Self::AsMule => "as-mule",
            Self::AtExit => "as-user-atexit",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [
            Self::Asap,
            Self::PreJail,
            Self::InJail,
            Self::AsRoot,
            Self::AsUser,
            Self::PreApp,
            Self::PostApp,
            Self::PostFork,
            Self::MasterStart,
            Self::AsMule,
            Self::AtExit,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == name)
    }
}

/// What a step does. Paths are relative to the directory of the process that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// A line of shell, whose status is to be 0.
    Exec(String),
    Print(String),
    Chdir(PathBuf),
    /// The file has this text then, and nothing else.
    Write(PathBuf, String),
    Append(PathBuf, String),
    /// To a FIFO that somebody reads; without a reader nothing happens.
    WriteFifo(PathBuf, String),
    /// The file is there and empty then.
    Create(PathBuf),
    Unlink(PathBuf),
    Mkdir(PathBuf),
    Chmod(PathBuf, u32),
    /// A user and a group, by name or number.
    Chown(PathBuf, String, String),
    PutEnv(String, String),
    /// The process ends, with status 0.
    Exit,
}

/// A step.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    pub phase: HookPhase,
    pub action: HookAction,
    /// The option and its value as they may be shown.
    pub shown: String,
    pub origin: Origin,
}

/// Commands may be secrets and stay out.
impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, origin, .. } = self;
        formatter
            .debug_struct("Hook")
            .field("phase", phase)
            .field("origin", origin)
            .finish_non_exhaustive()
    }
}

/// All steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hooks {
    /// Of each phase in the order in which they run.
    steps: Vec<Hook>,
    /// Steps of `exec-*`, which run behind those of `hook-*`.
    commands: Vec<Hook>,
}

/// So many steps are a mistake.
const STEPS_MAX: usize = 1024;
/// Actions of uWSGI that a daemon for tasks has no use for, or that `exec:` does as well.
const OTHERS: &[&str] = &[
    "alarm",
    "call",
    "callint",
    "callintret",
    "callret",
    "chown2",
    "hostname",
    "mount",
    "retryrpc",
    "rpc",
    "sticky",
    "umount",
    "unix_signal",
    "wait_for_dir",
    "wait_for_file",
    "wait_for_fs",
    "wait_for_socket",
];
const ACTIONS: &str = "exec, print, chdir, write, append, writefifo, create, unlink, mkdir, chmod, \
                       chown, putenv and exit";
/// What these ask for is so anyway.
const SIGNALS_STOP: [&str; 2] =
    ["unix_signal:2 gracefully_kill_them_all", "unix_signal:15 gracefully_kill_them_all"];

/// Whether the value of this option has lines of shell, in which `$(...)` is meant.
pub(crate) fn is_command(name: &str) -> bool {
    name == "hook-touch" || phase_of(name).is_some()
}

/// The phase of an option, and whether its value is a command without an action before it.
fn phase_of(name: &str) -> Option<(HookPhase, bool)> {
    if let Some(phase) = name.strip_prefix("hook-").and_then(HookPhase::named) {
        return Some((phase, false));
    }
    let phase = name.strip_prefix("exec-").and_then(HookPhase::named)?;
    let other = [HookPhase::PostFork, HookPhase::MasterStart, HookPhase::AsMule].contains(&phase);
    (!other).then_some((phase, true))
}

impl Hooks {
    /// The steps of a phase, in their order.
    pub fn of(&self, phase: HookPhase) -> impl Iterator<Item = &Hook> {
        self.steps.iter().chain(&self.commands).filter(move |hook| hook.phase == phase)
    }

    /// Takes one option; whether it is one of these.
    pub(crate) fn apply(
        &mut self,
        value: Value<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, ConfigError> {
        let Some((phase, command)) = phase_of(value.name()) else { return Ok(false) };
        if self.steps.len() + self.commands.len() >= STEPS_MAX {
            return Err(value.invalid("there are 1024 such options already; remove one"));
        }
        let (origin, shown) =
            (value.origin().clone(), format!("{} = {}", value.name(), value.told()));
        if command {
            let action = HookAction::Exec(value.text().to_owned());
            self.commands.push(Hook { phase, action, shown, origin });
        } else if let Some(action) = action(value, value.text(), notices)? {
            self.steps.push(Hook { phase, action, shown, origin });
        }
        Ok(true)
    }
}

/// `ACTION:ARGUMENTS`; `None`: unspool has no such action.
fn action(
    value: Value<'_>,
    text: &str,
    notices: &mut Vec<Notice>,
) -> Result<Option<HookAction>, ConfigError> {
    let Some((name, rest)) = text.split_once(':') else {
        return Err(value.invalid("write ACTION:ARGUMENTS, as in `exec:echo hello`"));
    };
    let path = || {
        let missing = || value.invalid("the path is missing; write it behind the colon");
        Some(rest).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(missing)
    };
    let two = |usage: &str| {
        rest.split_once(' ')
            .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .ok_or_else(|| value.invalid(&format!("write {name}:{usage}")))
    };
    Ok(Some(match name {
        "exec" => HookAction::Exec(rest.to_owned()),
        "print" => HookAction::Print(rest.to_owned()),
        "cd" | "chdir" => HookAction::Chdir(path()?),
        "write" => two("FILE TEXT").map(|(path, text)| HookAction::Write(path, text))?,
        "append" => two("FILE TEXT").map(|(path, text)| HookAction::Append(path, text))?,
        "writefifo" => two("FILE TEXT").map(|(path, text)| HookAction::WriteFifo(path, text))?,
        "create" => HookAction::Create(path()?),
        "unlink" => HookAction::Unlink(path()?),
        "mkdir" => HookAction::Mkdir(path()?),
        "chmod" => {
            let (path, mode) = two("FILE MODE")?;
            let mode =
                u32::from_str_radix(mode.trim_matches(' '), 8).ok().filter(|mode| *mode <= 0o7777);
            let mode =
                mode.ok_or_else(|| value.invalid("this is no mode; write it octal, as in 640"))?;
            HookAction::Chmod(path, mode)
        }
        "chown" => {
            let usage = "FILE USER GROUP";
            let (path, names) = two(usage)?;
            let Some((user, group)) = names.trim_matches(' ').split_once(' ') else {
                return Err(value.invalid(&format!("write chown:{usage}")));
            };
            HookAction::Chown(path, user.to_owned(), group.trim_start_matches(' ').to_owned())
        }
        "putenv" => match rest.split_once('=') {
            Some((name, text)) if !name.is_empty() && !rest.contains('\0') => {
                HookAction::PutEnv(name.to_owned(), text.to_owned())
            }
            _ => return Err(value.invalid("write putenv:NAME=TEXT")),
        },
        "exit" => HookAction::Exit,
        _ if SIGNALS_STOP.contains(&text.trim()) => return Ok(None),
        _ if OTHERS.contains(&name) => {
            notices.push(Notice::NoEffect {
                name: value.name().to_owned(),
                origin: value.origin().clone(),
                reason: "unspool has no such action; have `exec:COMMAND` do it",
            });
            return Ok(None);
        }
        _ => {
            return Err(value.invalid(&format!("there is no action `{name}`; those are {ACTIONS}")));
        }
    }))
}

/// What `hook-touch` runs: `FILE exec:COMMAND`.
pub(crate) fn touch_command(action: &str) -> Option<&str> {
    action.strip_prefix("exec:").filter(|command| !command.is_empty())
}
