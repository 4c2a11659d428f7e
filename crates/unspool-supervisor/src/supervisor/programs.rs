//! Commands of crons: started, watched, limited, ended.
//!
//! They are children of the daemon, each in a session of its own. When they are due, and whether
//! this daemon is the one to start them, is decided in `schedule` and `leader`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use tracing::warn;
use unspool_sys::process::{Child, Exit};
use unspool_sys::{clock, program};

use super::{KIND_CRON, Supervisor};
use crate::journal::journal;
use crate::programs::{CronCommand, CronFields, ProgramSettings, Surroundings};
use crate::snapshot::CommandSnapshot;

/// Commands that run at the same time.
const RUNNING_MAX: usize = 64;

/// Commands of crons: those of the configuration, and those that run.
#[derive(Debug)]
pub(super) struct Crons {
    commands: Vec<Cron>,
    running: BTreeMap<u32, Running>,
    last: u32,
}

#[derive(Debug)]
struct Cron {
    command: CronCommand,
    runs: u64,
    started_at: Option<i64>,
    /// Runs that were left out since the last one that was not.
    skipped: u64,
}

#[derive(Debug)]
struct Running {
    cron: usize,
    child: Child,
    since_ns: u64,
    /// When it is killed.
    until_ns: Option<u64>,
    /// The stop of the daemon has ended it.
    stopped: bool,
}

impl Crons {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        let commands = settings.crons.iter().cloned();
        let commands =
            commands.map(|command| Cron { command, runs: 0, started_at: None, skipped: 0 });
        let commands = commands.collect();
        Self { commands, running: BTreeMap::new(), last: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// When the next one is killed.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.running.values().filter_map(|running| running.until_ns).min()
    }

    pub(super) fn owns(&self, pid: u32) -> bool {
        self.running.values().any(|running| running.child.pid() == pid)
    }

    /// What there is, to be shown.
    pub(super) fn account(&self) -> Vec<CommandSnapshot> {
        let commands = self.commands.iter().enumerate();
        let shown = commands.map(|(number, cron)| {
            let CronFields { minute, hour, day, month, weekday } = cron.command.when;
            let own = self.running.values().rev().find(|running| running.cron == number);
            CommandSnapshot {
                command: cron.command.shown.clone(),
                minute,
                hour,
                day,
                month,
                weekday,
                unique: cron.command.unique,
                pid: own.map(|running| running.child.pid()),
                started_at: cron.started_at,
                runs: cron.runs,
                skipped: cron.skipped,
            }
        });
        shown.collect()
    }

    /// Says what a stop waits for: a command may run for long, and nothing else names it then.
    pub(super) fn name_those_that_run(&self) {
        for running in self.running.values() {
            let Some(cron) = self.commands.get(running.cron) else { continue };
            journal!(
                CRON_LEFT,
                pid = running.child.pid(),
                command = cron.command.shown,
                "a cron may finish"
            );
        }
    }

    /// Asks all to end.
    pub(super) fn terminate(&mut self) {
        for running in self.running.values_mut() {
            running.stopped = true;
            program::signal_group(&running.child, SIGTERM);
        }
    }

    /// Kills all, with what they started.
    pub(super) fn kill(&mut self) {
        for running in self.running.values_mut() {
            running.stopped = true;
            running.child.kill_group();
        }
    }

    /// Leaves those behind that do not end.
    pub(super) fn forget(&mut self) {
        self.running.clear();
    }
}

const SIGTERM: i32 = 15;

/// Starts a line of shell as the application's processes are started.
pub(super) fn start(
    surroundings: &Surroundings,
    command: &str,
    ids: (Option<u32>, Option<u32>),
) -> io::Result<Child> {
    program::start(&program::Program {
        command,
        directory: &surroundings.directory,
        env: &surroundings.env,
        unenv: &surroundings.unenv,
        uid: ids.0,
        gid: ids.1,
    })
}

impl Supervisor {
    /// A cron's minute has come.
    pub(super) fn start_cron(&mut self, number: usize) {
        let all = self.crons.running.len();
        let runs = self.crons.running.values().any(|running| running.cron == number);
        let Some(cron) = self.crons.commands.get_mut(number) else { return };
        let command = &cron.command.shown;
        if (cron.command.unique && runs) || all >= RUNNING_MAX {
            cron.skipped += 1;
            let skipped = cron.skipped;
            if runs {
                journal!(CRON_SKIPPED, skipped, command, "cron skipped: it still runs");
            } else {
                journal!(
                    CRON_SKIPPED,
                    skipped,
                    command,
                    running = all,
                    "cron skipped: too many crons run"
                );
            }
            return;
        }
        cron.skipped = 0;
        let started = start(&self.surroundings, &cron.command.command, (None, None));
        let id = self.crons.last.wrapping_add(1);
        let watched = started.and_then(|child| {
            // One that cannot be watched runs on and ends as a stranger.
            self.poll.add(child.as_fd(), KIND_CRON | u64::from(id))?;
            Ok(child)
        });
        match watched {
            Ok(child) => {
                journal!(CRON_STARTED, pid = child.pid(), command, "cron started");
                cron.runs += 1;
                cron.started_at = Some(clock::now_ns().div_euclid(1_000_000_000));
                let since_ns = clock::monotonic_ns();
                let limit = cron.command.harakiri.map(|limit| limit.as_nanos() as u64);
                let until_ns = limit.map(|limit_ns| since_ns.saturating_add(limit_ns));
                let running = Running { cron: number, child, since_ns, until_ns, stopped: false };
                self.crons.last = id;
                self.crons.running.insert(id, running);
            }
            Err(error) => {
                let directory = self.surroundings.directory.display();
                journal!(CRON_NOT_STARTED, command, %directory, %error, "cannot start cron");
            }
        }
    }

    /// Kills commands that take too long.
    pub(super) fn limit_crons(&mut self) {
        let now_ns = clock::monotonic_ns();
        for running in self.crons.running.values_mut() {
            if running.until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
                running.until_ns = None;
                let command =
                    self.crons.commands.get(running.cron).map_or("", |c| &c.command.shown);
                let seconds = (now_ns - running.since_ns) as f64 / 1e9;
                let pid = running.child.pid();
                journal!(
                    CRON_TIME_LIMIT,
                    pid,
                    seconds,
                    command,
                    "cron takes too long (harakiri): killing it"
                );
                running.child.kill_group();
            }
        }
    }

    /// The process of a command has ended.
    pub(super) fn cron_ended(&mut self, id: u32) {
        let Some(running) = self.crons.running.get(&id) else { return };
        let exit = match running.child.try_wait() {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            Err(error) => {
                warn!(%error, "cannot learn how a cron ended");
                Exit::Status(-1)
            }
        };
        let Some(running) = self.crons.running.remove(&id) else { return };
        let _ = self.poll.remove(running.child.as_fd());
        let command = self.crons.commands.get(running.cron).map_or("", |c| &c.command.shown);
        let seconds = (clock::monotonic_ns() - running.since_ns) as f64 / 1e9;
        let pid = running.child.pid();
        match exit {
            Exit::Status(0) => journal!(CRON_DONE, pid, seconds, command, "cron done"),
            exit if running.stopped => {
                journal!(
                    CRON_INTERRUPTED, pid, seconds, command, cause = %exit,
                    "cron {exit} by the stop"
                );
            }
            exit => journal!(CRON_FAILED, pid, seconds, command, cause = %exit, "cron {exit}"),
        }
    }
}
