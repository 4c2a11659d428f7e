//! Attached daemons: programs that are kept running as long as this daemon runs.
//!
//! A plain one is a child, started again when it ends, and ended with the daemon. One with a pidfile
//! may have been there before and stays when the daemon stops; a thread of its own reads the file
//! (`pidfiles`), and a pid descriptor tells when the process ends.

use std::os::fd::AsFd;

use tracing::{error, warn};
use unspool_sys::process::{Child, Exit};
use unspool_sys::{clock, program};

use super::pidfiles::{Pidfiles, Request};
use super::programs::start;
use super::{KIND_ATTACHED, Supervisor};
use crate::backoff::Backoff;
use crate::dispatcher::Outbox;
use crate::journal::journal;
use crate::programs::{AttachedDaemon, ProgramSettings, Surroundings};
use crate::snapshot::DaemonSnapshot;

/// How long one may take to end before it is killed.
const END_NS_MAX: u64 = 10_000_000_000;
/// One that ran for so long was no failure to start.
const LASTED_NS: u64 = 10_000_000_000;
const SIGKILL: i32 = 9;
/// Between looks at a pidfile that is being written.
const LOOK_NS: u64 = 200_000_000;

/// The attached daemons.
#[derive(Debug)]
pub(super) struct Attached {
    daemons: Vec<Daemon>,
    pidfiles: Option<Pidfiles>,
    begun: bool,
}

#[derive(Debug)]
struct Daemon {
    settings: AttachedDaemon,
    surroundings: Surroundings,
    /// The process that was started here.
    child: Option<Child>,
    since_ns: u64,
    /// How often it was started here.
    starts: u64,
    /// The process that the pidfile names.
    found: Option<Child>,
    /// What is next, and when.
    next: Option<(Next, u64)>,
    backoff: Backoff,
    /// It was told to end, to be started again.
    restarting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Start it; one with a pidfile only if that names no process.
    Start,
    /// Look again who the pidfile names, until then.
    Look { until_ns: u64 },
    /// It does not end: kill it.
    Kill,
}

impl Daemon {
    fn new(settings: AttachedDaemon, surroundings: &Surroundings) -> Self {
        let mut surroundings = surroundings.clone();
        if let Some(directory) = &settings.directory {
            surroundings.directory.clone_from(directory);
        }
        Self {
            settings,
            surroundings,
            child: None,
            since_ns: 0,
            starts: 0,
            found: None,
            next: Some((Next::Start, 0)),
            backoff: Backoff::default(),
            restarting: false,
        }
    }

    /// Whether a stop ends it.
    fn is_plain(&self) -> bool {
        self.settings.pidfile.is_none()
    }

    /// Its pidfile, for the log.
    fn pidfile(&self) -> String {
        self.settings.pidfile.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }

    fn start_later(&mut self) -> u64 {
        let mut delay = self.backoff.failed();
        if let Some(most) = self.settings.throttle_max {
            delay = delay.min(most);
        }
        self.next = Some((Next::Start, clock::monotonic_ns() + delay.as_nanos() as u64));
        delay.as_millis() as u64
    }

    /// Its process, if it runs.
    fn pid(&self) -> Option<u32> {
        self.found.as_ref().or(self.child.as_ref()).map(Child::pid)
    }

    /// Sends a signal to all that it is.
    fn signal(&self, signal: i32) {
        if let Some(found) = &self.found {
            program::signal_process(found, signal);
        } else if let Some(child) = &self.child {
            program::signal_group(child, signal);
        }
    }
}

impl Attached {
    /// They are started with the first look at what is due.
    pub(super) fn new(settings: &ProgramSettings, outbox: Outbox) -> Self {
        let daemons: Vec<Daemon> = settings
            .daemons
            .iter()
            .map(|daemon| Daemon::new(daemon.clone(), &settings.surroundings))
            .collect();
        let files = daemons.iter().map(|d| (d.settings.pidfile.clone(), d.settings.touch.clone()));
        let pidfiles = Pidfiles::start(files.collect(), outbox);
        Self { daemons, pidfiles, begun: false }
    }

    pub(super) fn next_ns(&self) -> Option<u64> {
        self.daemons.iter().filter_map(|daemon| daemon.next.map(|next| next.1)).min()
    }

    pub(super) fn owns(&self, pid: u32) -> bool {
        self.daemons.iter().any(|d| d.child.as_ref().is_some_and(|child| child.pid() == pid))
    }

    /// What there is, to be shown.
    pub(super) fn account(&self) -> Vec<DaemonSnapshot> {
        let daemons = self.daemons.iter().map(|daemon| DaemonSnapshot {
            command: daemon.settings.shown.clone(),
            pid: daemon.pid(),
            respawns: daemon.starts.saturating_sub(1),
        });
        daemons.collect()
    }

    /// Asks who the pidfile names. The answer comes as a message.
    fn ask(&mut self, number: usize) -> bool {
        self.pidfiles.as_ref().is_some_and(|files| files.send(Request::Read(number)))
    }

    /// Those that a stop ends and that still run.
    fn left(&self) -> impl Iterator<Item = &Daemon> {
        self.daemons.iter().filter(|daemon| daemon.is_plain() && daemon.child.is_some())
    }

    pub(super) fn is_ended(&self) -> bool {
        self.left().next().is_none()
    }

    /// The daemon stops: asks all to end. Those with a pidfile stay, as in uWSGI.
    pub(super) fn stop(&mut self) {
        for daemon in &mut self.daemons {
            daemon.next = None;
        }
        for daemon in self.left() {
            let pid = daemon.child.as_ref().map_or(0, Child::pid);
            journal!(
                ATTACHED_STOPPING,
                pid,
                command = daemon.settings.shown,
                "stopping attached daemon"
            );
            daemon.signal(daemon.settings.stop_signal);
        }
    }

    /// Kills those that do not end.
    pub(super) fn kill(&mut self) {
        for daemon in self.left() {
            let pid = daemon.child.as_ref().map_or(0, Child::pid);
            journal!(
                ATTACHED_KILLED,
                pid,
                command = daemon.settings.shown,
                "attached daemon does not end: killing it"
            );
            if let Some(child) = &daemon.child {
                child.kill_group();
            }
        }
    }
}

impl Supervisor {
    /// Does what is due to attached daemons.
    pub(super) fn tend_attached(&mut self) {
        if self.ladder.is_some() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        if !std::mem::replace(&mut self.attached.begun, true) {
            for daemon in &mut self.attached.daemons {
                daemon.since_ns = now_ns;
            }
        }
        for number in 0..self.attached.daemons.len() {
            let daemon = &mut self.attached.daemons[number];
            let Some((next, _)) = daemon.next.take_if(|next| next.1 <= now_ns) else { continue };
            match next {
                Next::Start if daemon.is_plain() => self.start_attached(number),
                Next::Start => {
                    if !self.attached.ask(number) {
                        self.attached.daemons[number].start_later();
                    }
                }
                Next::Look { until_ns } => {
                    daemon.next = Some((Next::Look { until_ns }, now_ns + LOOK_NS));
                    self.attached.ask(number);
                }
                Next::Kill => {
                    let pid = daemon.pid();
                    let command = &daemon.settings.shown;
                    journal!(
                        ATTACHED_KILLED,
                        pid,
                        command,
                        "attached daemon does not end: killing it"
                    );
                    daemon.signal(SIGKILL);
                }
            }
        }
    }

    fn start_attached(&mut self, number: usize) {
        let Some(daemon) = self.attached.daemons.get_mut(number) else { return };
        let settings = &daemon.settings;
        let ids = (settings.uid, settings.gid);
        let started = start(&daemon.surroundings, &settings.command, ids).and_then(|child| {
            self.poll.add(child.as_fd(), KIND_ATTACHED | number as u64)?;
            Ok(child)
        });
        let command = &daemon.settings.shown;
        match started {
            Ok(child) => {
                let pid = child.pid();
                journal!(ATTACHED_STARTED, pid, command, "attached daemon started");
                daemon.since_ns = clock::monotonic_ns();
                daemon.starts += 1;
                let limit_ns = daemon.settings.frequency.as_nanos() as u64;
                let until_ns = daemon.since_ns.saturating_add(limit_ns);
                daemon.child = Some(child);
                if daemon.settings.daemonize {
                    if let Some(files) = &self.attached.pidfiles {
                        files.send(Request::Write(number, pid));
                    }
                } else if !daemon.is_plain() {
                    daemon.next = Some((Next::Look { until_ns }, daemon.since_ns + LOOK_NS));
                }
            }
            Err(error) => {
                let directory = daemon.surroundings.directory.display().to_string();
                journal!(
                    ATTACHED_FAILED, command, directory, %error,
                    "cannot start attached daemon"
                );
                daemon.start_later();
            }
        }
    }

    /// Who the pidfile names has been looked at.
    pub(super) fn pidfile_read(&mut self, number: usize, pid: Option<u32>) {
        let Some(daemon) = self.attached.daemons.get_mut(number) else { return };
        if self.ladder.is_some() || daemon.found.is_some() {
            return;
        }
        let own = daemon.child.as_ref().is_some_and(|child| Some(child.pid()) == pid);
        if let Some(process) = pid.filter(|_| !own).and_then(alive) {
            let pid = process.pid();
            if self.poll.add(process.as_fd(), KIND_ATTACHED | number as u64).is_ok() {
                journal!(
                    ATTACHED_FOUND,
                    pid,
                    command = daemon.settings.shown,
                    "attached daemon runs"
                );
                daemon.found = Some(process);
                daemon.since_ns = clock::monotonic_ns();
                daemon.next = None;
            }
            return;
        }
        let command = &daemon.settings.shown;
        match daemon.next {
            _ if own => daemon.next = None,
            None if daemon.child.is_none() => self.start_attached(number),
            Some((Next::Look { until_ns }, _)) if clock::monotonic_ns() >= until_ns => {
                let pidfile = daemon.pidfile();
                if daemon.child.is_some() {
                    daemon.next = None;
                    warn!(pidfile, command, "attached daemon writes no pidfile");
                } else {
                    let again_ms = daemon.start_later();
                    let command = &daemon.settings.shown;
                    journal!(
                        ATTACHED_DIED,
                        pidfile,
                        again_ms,
                        command,
                        "attached daemon wrote no pidfile of a process that runs; starting it again"
                    );
                }
            }
            _ => {}
        }
    }

    /// The pidfile could not be read or written.
    pub(super) fn pidfile_failed(&mut self, number: usize, problem: &str) {
        let Some(daemon) = self.attached.daemons.get(number) else { return };
        let pidfile = daemon.pidfile();
        error!(pidfile, command = daemon.settings.shown, "cannot use the pidfile: {problem}");
    }

    /// A process has ended: the one that was started, or the one that the pidfile names.
    pub(super) fn attached_ended(&mut self, number: usize) {
        let Some(daemon) = self.attached.daemons.get_mut(number) else { return };
        let exit = match daemon.child.as_ref().map(Child::try_wait) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(exit))) => Some(exit),
            Some(Err(_)) => Some(Exit::Status(-1)),
        };
        if let Some(exit) = exit
            && let Some(child) = daemon.child.take()
        {
            let _ = self.poll.remove(child.as_fd());
            let looks = matches!(daemon.next, Some((Next::Look { .. }, _)));
            // The launcher of one that puts itself in the background.
            if !looks && daemon.found.is_none() {
                self.attached_lost(number, child.pid(), &exit.to_string());
            }
            return;
        }
        if let Some(found) = daemon.found.take_if(|found| !found.is_alive()) {
            let _ = self.poll.remove(found.as_fd());
            self.attached_lost(number, found.pid(), "ended");
        }
    }

    /// One is not there any more: it is started again.
    fn attached_lost(&mut self, number: usize, pid: u32, how: &str) {
        let Some(daemon) = self.attached.daemons.get_mut(number) else { return };
        let command = &daemon.settings.shown;
        if self.ladder.is_some() {
            journal!(ATTACHED_ENDED, pid, command, cause = how, "attached daemon {how}");
            return;
        }
        if std::mem::take(&mut daemon.restarting) {
            daemon.backoff.reset();
            journal!(
                ATTACHED_ENDED,
                pid,
                command,
                cause = how,
                "attached daemon {how}; starting it again"
            );
            daemon.next = Some((Next::Start, 0));
            return;
        }
        if daemon.settings.control {
            journal!(
                ATTACHED_DIED,
                pid,
                command,
                cause = how,
                "attached daemon {how}; stopping, since it controls this one"
            );
            self.stop();
            return;
        }
        if clock::monotonic_ns() >= daemon.since_ns.saturating_add(LASTED_NS) {
            daemon.backoff.reset();
        }
        let again_ms = daemon.start_later();
        let command = &daemon.settings.shown;
        journal!(
            ATTACHED_DIED,
            pid,
            again_ms,
            command,
            cause = how,
            "attached daemon {how}; starting it again"
        );
    }

    /// The application was reloaded: those without a pidfile are started again, as in uWSGI.
    pub(super) fn reload_attached(&mut self) {
        for number in 0..self.attached.daemons.len() {
            let daemon = &self.attached.daemons[number];
            if daemon.is_plain() {
                let signal = daemon.settings.reload_signal.unwrap_or(daemon.settings.stop_signal);
                self.restart(number, signal, "with the application");
            }
        }
    }

    /// A file of `touch` has changed. One with a reload signal gets that and may go on, as in uWSGI.
    pub(super) fn attached_touched(&mut self, number: usize, path: &std::path::Path) {
        let Some(daemon) = self.attached.daemons.get(number) else { return };
        let path = path.display();
        let Some(signal) = daemon.settings.reload_signal else {
            let signal = daemon.settings.stop_signal;
            return self.restart(number, signal, &format!("since {path} was touched"));
        };
        if let Some(pid) = daemon.pid().filter(|_| self.ladder.is_none()) {
            let command = &daemon.settings.shown;
            journal!(
                ATTACHED_RELOADED,
                pid,
                signal,
                command,
                "reloading attached daemon since {path} was touched"
            );
            daemon.signal(signal);
        }
    }

    /// Asks one to end, to be started again.
    fn restart(&mut self, number: usize, signal: i32, why: &str) {
        let Some(daemon) = self.attached.daemons.get_mut(number) else { return };
        let Some(pid) = daemon.pid().filter(|_| !daemon.restarting) else { return };
        if self.ladder.is_some() {
            return;
        }
        journal!(
            ATTACHED_RELOADED,
            pid,
            command = daemon.settings.shown,
            "restarting attached daemon {why}"
        );
        daemon.restarting = true;
        daemon.signal(signal);
        daemon.next = Some((Next::Kill, clock::monotonic_ns() + END_NS_MAX));
    }
}

/// Gets hold of a process that lives, child or not.
fn alive(pid: u32) -> Option<Child> {
    Child::open(pid).ok().filter(Child::is_alive)
}
