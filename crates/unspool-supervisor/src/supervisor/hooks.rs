//! The steps that the daemon takes each time that the application is there (`hook-master-start`):
//! one after the other, and nothing waits for them. One that fails ends them.

use std::os::fd::AsFd;

use unspool_sys::process::{Child, Exit};

use super::{KIND_HOOK, Supervisor, programs};
use crate::journal::journal;
use crate::settings::HookStep;

/// The steps, and the one that is being taken.
#[derive(Debug)]
pub(super) struct Hooks {
    steps: Vec<HookStep>,
    /// The command that runs, and the number of the step behind it.
    running: Option<(Child, usize)>,
    /// The application came anew meanwhile: they are taken once more.
    again: bool,
}

impl Hooks {
    pub(super) fn new(steps: Vec<HookStep>) -> Self {
        Self { steps, running: None, again: false }
    }

    pub(super) fn owns(&self, pid: u32) -> bool {
        self.running.as_ref().is_some_and(|(child, _)| child.pid() == pid)
    }
}

impl Supervisor {
    /// The application is there.
    pub(super) fn begin_hooks(&mut self) {
        if self.hooks.running.is_some() {
            self.hooks.again = true;
            return;
        }
        self.take_hooks(0);
    }

    fn take_hooks(&mut self, first: usize) {
        for number in first..self.hooks.steps.len() {
            match self.hooks.steps.get_mut(number) {
                Some(HookStep::Exec { command, shown }) => {
                    let started = programs::start(&self.surroundings, command, (None, None));
                    let watched = started.and_then(|child| {
                        self.poll.add(child.as_fd(), KIND_HOOK)?;
                        Ok(child)
                    });
                    match watched {
                        Ok(child) => self.hooks.running = Some((child, number + 1)),
                        Err(error) => {
                            journal!(
                                HOOK_NOT_STARTED, hook = shown, %error,
                                "cannot run a command"
                            );
                        }
                    }
                    return;
                }
                Some(HookStep::Act(act)) => {
                    act.reached();
                }
                None => return,
            }
        }
    }

    /// The command of a step has ended.
    pub(super) fn hook_ended(&mut self) {
        let Some((child, next)) = &self.hooks.running else { return };
        let Ok(Some(exit)) = child.try_wait() else { return };
        let (pid, next) = (child.pid(), *next);
        let _ = self.poll.remove(child.as_fd());
        self.hooks.running = None;
        let shown = match self.hooks.steps.get(next - 1) {
            Some(HookStep::Exec { shown, .. }) => shown.as_str(),
            _ => "",
        };
        if exit == Exit::Status(0) {
            journal!(HOOK_DONE, pid, hook = shown, "command done");
        } else {
            journal!(
                HOOK_FAILED, pid, hook = shown, cause = %exit,
                "command {exit}; the hooks behind it are left out"
            );
        }
        if self.ladder.is_some() {
            return;
        }
        if std::mem::take(&mut self.hooks.again) {
            self.take_hooks(0);
        } else if exit == Exit::Status(0) {
            self.take_hooks(next);
        }
    }
}
