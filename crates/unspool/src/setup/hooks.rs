//! Takes the steps of `hook-*` and `exec-*` that are the daemon's own: before and after it takes on
//! its user, and when it has stopped.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tracing::{error, warn};
use unspool_config::{Hook, HookAction, HookPhase, Hooks};
use unspool_sys::process::Exit;
use unspool_sys::{program, steps};

use super::SetupError;
use super::identity::{find_group, find_user};
use crate::logging::with_causes;

/// How long one command may take when the daemon has stopped.
const AT_EXIT_TIMEOUT: Duration = Duration::from_mins(1);

/// What steps leave behind for those that follow.
#[derive(Debug)]
pub(crate) struct Steps {
    hooks: Hooks,
    /// Variables that they have set.
    pub(crate) env: Vec<(String, String)>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StepError {
    #[error("`{hook}` failed")]
    Failed { hook: String, source: io::Error },
    #[error("`{hook}`: the command {exit}")]
    Command { hook: String, exit: Exit },
    #[error("`{hook}`: the command took longer than {limit_s} seconds and was killed")]
    Late { hook: String, limit_s: u64 },
    #[error("`{hook}`")]
    Unknown { hook: String, source: Box<SetupError> },
}

/// Whether the process goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    On,
    /// A step was `exit`.
    End,
}

impl Steps {
    pub(crate) fn new(hooks: &Hooks) -> Self {
        Self { hooks: hooks.clone(), env: Vec::new() }
    }

    /// Takes the steps of some phases, up to the first that fails. What commands print goes to
    /// `output`. They may take as long as they want, as in uWSGI: nothing waits for them but the
    /// start.
    pub(super) fn take(&mut self, phases: &[HookPhase], output: &File) -> Result<Flow, StepError> {
        for hook in phases.iter().flat_map(|phase| self.hooks.of(*phase)) {
            if one(hook, &mut self.env, output.as_fd(), None)? == Flow::End {
                return Ok(Flow::End);
            }
        }
        Ok(Flow::On)
    }

    /// Takes the last steps. Returns those that failed; the others are taken all the same.
    /// What they print goes where the daemon's standard error goes, which is its log.
    pub(crate) fn take_last(&mut self) -> Vec<StepError> {
        let mut failed = Vec::new();
        let output = io::stderr();
        for hook in self.hooks.of(HookPhase::AtExit) {
            match one(hook, &mut self.env, output.as_fd(), Some(AT_EXIT_TIMEOUT)) {
                Ok(Flow::On) => {}
                Ok(Flow::End) => break,
                Err(error) => failed.push(error),
            }
        }
        failed
    }
}

/// Takes a step of the running daemon.
pub(crate) fn take_one(hook: &Hook) {
    let mut env = Vec::new();
    match one(hook, &mut env, io::stderr().as_fd(), Some(AT_EXIT_TIMEOUT)) {
        Ok(Flow::On) if env.is_empty() => {}
        Ok(_) => warn!("`{}` has no effect in a daemon that runs", hook.shown),
        Err(error) => error!("{}", with_causes(&error)),
    }
}

fn one(
    hook: &Hook,
    env: &mut Vec<(String, String)>,
    output: BorrowedFd<'_>,
    most: Option<Duration>,
) -> Result<Flow, StepError> {
    let done = match &hook.action {
        HookAction::Exec(command) => {
            let hook = || hook.shown.clone();
            return match program::run(command, env, output, most) {
                Ok(Some(Exit::Status(0))) => Ok(Flow::On),
                Ok(Some(exit)) => Err(StepError::Command { hook: hook(), exit }),
                Ok(None) => {
                    let limit_s = most.unwrap_or_default().as_secs();
                    Err(StepError::Late { hook: hook(), limit_s })
                }
                Err(source) => Err(StepError::Failed { hook: hook(), source }),
            };
        }
        HookAction::Exit => return Ok(Flow::End),
        HookAction::PutEnv(name, text) => {
            env.push((name.clone(), text.clone()));
            Ok(())
        }
        HookAction::Print(text) => print(output, text),
        HookAction::Chdir(path) => steps::enter(path),
        HookAction::Write(path, text) => steps::write(path, text),
        HookAction::Create(path) => steps::write(path, ""),
        HookAction::Append(path, text) => steps::append(path, text),
        HookAction::WriteFifo(path, text) => steps::write_fifo(path, text).map(drop),
        HookAction::Unlink(path) => steps::unlink(path),
        HookAction::Mkdir(path) => steps::make_directory(path),
        HookAction::Chmod(path, mode) => steps::set_mode(path, *mode),
        HookAction::Chown(path, user, group) => {
            let unknown = |error| StepError::Unknown {
                hook: hook.shown.clone(),
                source: Box::new(SetupError::Identity(error)),
            };
            let uid = find_user("chown", user).map_err(unknown)?.uid;
            let gid = find_group("chown", group).map_err(unknown)?;
            steps::give(path, uid, gid)
        }
    };
    done.map_err(|source| StepError::Failed { hook: hook.shown.clone(), source })?;
    Ok(Flow::On)
}

fn print(output: BorrowedFd<'_>, text: &str) -> io::Result<()> {
    File::from(output.try_clone_to_owned()?).write_all(format!("{text}\n").as_bytes())
}
