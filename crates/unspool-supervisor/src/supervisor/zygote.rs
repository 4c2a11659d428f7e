//! The zygote: a Python process that imports the application once and forks workers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use tracing::warn;
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::descent::kill_descent;
use unspool_sys::process::{Child, Exit};
use unspool_sys::socket::{self, Received};
use unspool_sys::{clock, host};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::control::{
    FromZygote, ImportFailure, MARK_VARIABLE, MonitorSpec, Ready, Source, ToZygote, mark,
    zygote_mark_value,
};

use super::limits::TRACEBACK_NS;
use super::watcher::{MONITORS_MAX, SOURCES_MAX};
use super::{KIND_ZYGOTE, KIND_ZYGOTE_SOCKET, RunError, Supervisor};
use crate::journal::journal;
use crate::python::python_program;
use crate::settings::ZygoteSettings;
use crate::uwsgi_lines;

/// A running zygote.
#[derive(Debug)]
pub(super) struct Zygote {
    pub(super) generation: u32,
    /// Its workers import the application themselves.
    pub(super) own_import: bool,
    pub(super) child: Child,
    socket: OwnedFd,
    /// Its socket is closed: it has to end by then.
    end_by_ns: Option<u64>,
    /// Everything has to be imported by then.
    import_by_ns: Option<u64>,
    /// What it has said so far of the source files that it reads.
    sources: Vec<Source>,
    monitors: Vec<MonitorSpec>,
}

/// How long a zygote may take to end after it has closed its socket.
const END_NS_MAX: u64 = 5_000_000_000;

impl Zygote {
    fn start(
        settings: &ZygoteSettings,
        generation: u32,
        import_timeout: Duration,
        is_a_reload: bool,
        own_import: bool,
        requests: BorrowedFd<'_>,
        queues: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        // Standard input is the control socket; the zygote puts /dev/null in its place.
        let child = Command::new(&settings.python)
            .args(["-c", &python_program("_zygote")])
            // Its workers write their own over it.
            .env(MARK_VARIABLE, zygote_mark_value(host::pid(), generation))
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let child = Child::open(child.id())?;
        let import_by_ns = Some(clock::monotonic_ns() + import_timeout.as_nanos() as u64);
        let zygote = Self {
            generation,
            own_import,
            child,
            socket: ours,
            end_by_ns: None,
            import_by_ns,
            sources: Vec::new(),
            monitors: Vec::new(),
        };
        let mut setup = settings.setup.clone();
        setup.version = PROTOCOL_VERSION;
        setup.daemon_pid = host::pid();
        setup.is_a_reload = is_a_reload;
        setup.own_import = own_import;
        let mut parts = queues.chunks(socket::FDS_MAX);
        let stdin = io::stdin();
        let fds = [requests, stdin.as_fd()];
        let fds = if settings.honour_stdin { &fds[..] } else { &fds[..1] };
        if zygote.send(&ToZygote::Setup(Box::new(setup)), fds)
            && parts.all(|part| zygote.send(&ToZygote::Queues {}, part))
        {
            return Ok(zygote);
        }
        zygote.child.kill();
        Err(io::Error::other("it does not take its settings"))
    }

    /// Sends a packet. `false` if it is too long or the zygote does not take it.
    pub(super) fn send(&self, packet: &ToZygote, fds: &[BorrowedFd<'_>]) -> bool {
        match serde_json::to_vec(packet) {
            Ok(bytes) if bytes.len() <= PACKET_BYTES_MAX => {
                socket::send(self.socket.as_fd(), &bytes, fds).unwrap_or(false)
            }
            _ => false,
        }
    }
}

impl Supervisor {
    /// Starts a zygote of the next generation.
    pub(super) fn start_zygote(&mut self) {
        self.last_generation += 1;
        let number = self.last_generation;
        let timeout = self.patrol.limits().import_timeout;
        let is_a_reload = self.generation != 0;
        let own_import = self.forking.own_import;
        let requests = self.requests.for_children();
        let queues = self.mules.descriptors();
        let settings = &self.zygote_settings;
        let started =
            Zygote::start(settings, number, timeout, is_a_reload, own_import, requests, &queues);
        let started = started.and_then(|zygote| {
            self.poll.add(zygote.child.as_fd(), KIND_ZYGOTE | u64::from(number))?;
            self.poll.add(zygote.socket.as_fd(), KIND_ZYGOTE_SOCKET | u64::from(number))?;
            Ok(zygote)
        });
        self.zygote_at_ns = None;
        match started {
            Ok(zygote) => self.next_zygote = Some(zygote),
            Err(error) => {
                let python = self.zygote_settings.python.display();
                journal!(
                    ZYGOTE_NOT_STARTED, %python, %error,
                    "cannot start Python; name another one with `virtualenv`"
                );
                self.zygote_later();
            }
        }
    }

    /// Starts a zygote again after a pause that grows with each failure.
    fn zygote_later(&mut self) {
        let delay = self.zygote_backoff.failed().max(std::time::Duration::from_millis(100));
        self.zygote_at_ns = Some(clock::monotonic_ns() + delay.as_nanos() as u64);
    }

    pub(super) fn restart_zygote_if_due(&mut self) {
        if self.ladder.is_none()
            && self.next_zygote.is_none()
            && self.zygote_at_ns.is_some_and(|at_ns| at_ns <= clock::monotonic_ns())
        {
            self.start_zygote();
        }
    }

    pub(super) fn read_zygote(&mut self, generation: u32) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        let mut strays = Vec::new();
        loop {
            let zygote = [&mut self.zygote, &mut self.next_zygote]
                .into_iter()
                .flatten()
                .chain(&mut self.leaving_zygotes)
                .find(|zygote| zygote.generation == generation);
            let Some(zygote) = zygote else { return };
            let received = socket::receive(zygote.socket.as_fd(), &mut buffer, &mut strays, false);
            let bytes = match received {
                Ok(Received::Packet(bytes)) => bytes,
                Ok(Received::Nothing) => return,
                // Its process ends, or has to: the supervisor learns the rest from that.
                Ok(Received::Closed) | Err(_) => {
                    let _ = self.poll.remove(zygote.socket.as_fd());
                    zygote.end_by_ns.get_or_insert(clock::monotonic_ns() + END_NS_MAX);
                    self.zygote_silent(generation);
                    return;
                }
            };
            match serde_json::from_slice(&buffer[..bytes]) {
                Ok(FromZygote::Sources { sources }) => {
                    let room = SOURCES_MAX.saturating_sub(zygote.sources.len());
                    zygote.sources.extend(sources.into_iter().take(room));
                }
                Ok(FromZygote::Monitors { monitors }) => {
                    let room = MONITORS_MAX.saturating_sub(zygote.monitors.len());
                    zygote.monitors.extend(monitors.into_iter().take(room));
                }
                Ok(FromZygote::Ready(ready)) => self.zygote_ready(generation, *ready),
                Ok(FromZygote::Forked { worker, pid }) => self.worker_forked(worker, pid),
                Ok(FromZygote::Failed { worker, error }) => {
                    journal!(WORKER_NOT_FORKED, worker, error, "cannot fork a worker: {error}");
                    self.forget_worker(worker, Exit::Status(-1));
                }
                Err(error) => warn!(%error, "the zygote sent a packet that makes no sense"),
            }
        }
    }

    /// A zygote has imported the application, or tried to.
    fn zygote_ready(&mut self, generation: u32, ready: Ready) {
        let Some(next) = self.next_zygote.as_mut().filter(|z| z.generation == generation) else {
            return;
        };
        next.import_by_ns = None;
        let sources = std::mem::take(&mut next.sources);
        let monitors = std::mem::take(&mut next.monitors);
        self.watch_sources(sources, !ready.failures.is_empty());
        for remark in &ready.remarks {
            warn!("{remark}");
        }
        if !ready.threads.is_empty() {
            let threads = ready.threads.join(", ");
            warn!(
                threads,
                "the application starts threads while it is imported; they do not exist in the \
                 workers, which are forked later: start them in a `postfork` hook, or have each \
                 worker import the application itself (`spooler-fork = never`)"
            );
        }
        if !ready.failures.is_empty() && self.zygote.is_some() {
            journal!(
                RELOAD_FAILED,
                "reload given up: the workers go on with the application as it was"
            );
            self.imports_failed(ready.failures, true);
            if let Some(zygote) = self.next_zygote.take() {
                self.drop_zygote(zygote);
            }
            self.reload_again_if_wanted();
            return;
        }
        if self.generation == 0 {
            if self.web.lacks_application(&ready.failed) {
                let goes_on = !self.web.needs_application();
                uwsgi_lines::no_application(goes_on);
                if !goes_on {
                    return self.stop_without_application(ready.failures);
                }
            }
            self.moments.imported.reached();
        }
        self.zygote_backoff.reset();
        self.imports_failed(ready.failures, false);
        self.generation = generation;
        let old = std::mem::replace(&mut self.zygote, self.next_zygote.take());
        let pid = self.zygote.as_ref().map_or(0, |z| z.child.pid());
        let functions = ready.functions.join(", ");
        journal!(IMPORT_DONE, pid, functions, "application imported");
        self.imports.registered(ready.functions);
        let reloaded = old.is_some();
        if let Some(old) = old {
            self.drop_zygote(old);
        }
        self.watch_monitors(monitors);
        self.routes.replace(&ready.signals, &self.mules);
        self.schedule.name_handlers(&ready.signals);
        self.begin_schedule(ready.timers, &ready.crons);
        self.adopt_generation(reloaded);
        self.raise_early();
    }

    /// The application cannot be imported, and is needed.
    fn stop_without_application(&mut self, failures: Vec<ImportFailure>) {
        self.imports_failed(failures, false);
        self.failure.get_or_insert(RunError::NoApplication);
        self.stop();
    }

    /// Lets a zygote go: it is sent nothing more, and ends when it has done what it was asked for.
    /// It is heard until then: a worker that it has forked may run a task already.
    pub(super) fn drop_zygote(&mut self, mut zygote: Zygote) {
        zygote.end_by_ns = Some(clock::monotonic_ns() + END_NS_MAX);
        if zygote.import_by_ns.is_some() || socket::end_sending(zygote.socket.as_fd()).is_err() {
            // It would not listen before it has imported everything.
            zygote.child.terminate();
        }
        self.leaving_zygotes.push(zygote);
    }

    /// A zygote has closed its socket. One that was let go has nothing left to do.
    fn zygote_silent(&mut self, generation: u32) {
        let leaving = self.leaving_zygotes.iter().find(|zygote| zygote.generation == generation);
        if let Some(zygote) = leaving {
            zygote.child.terminate();
            self.forget_unforked(generation);
        }
    }

    fn forget_unforked(&mut self, generation: u32) {
        let lost: Vec<u32> = self
            .workers
            .iter()
            .filter(|(_, w)| w.generation == generation && w.child.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.forget_worker(id, Exit::Status(-1));
        }
    }

    /// A zygote does not fork: it has to go.
    pub(super) fn zygote_stuck(&mut self, generation: u32) {
        if let Some(zygote) = self.zygote.as_ref().filter(|z| z.generation == generation) {
            let own_import = zygote.own_import;
            journal!(
                ZYGOTE_KILLED,
                pid = zygote.child.pid(),
                "the zygote forks no workers; killing it"
            );
            self.kill_with_descent(zygote);
            self.started_late(own_import);
        }
    }

    /// Kills zygotes that should have ended. Returns when to look again.
    pub(super) fn end_zygotes(&mut self) -> Option<u64> {
        let now_ns = clock::monotonic_ns();
        self.end_long_imports(now_ns);
        let mut again_ns = self.next_zygote.as_ref().and_then(|zygote| zygote.import_by_ns);
        let ending = [&self.zygote, &self.next_zygote].into_iter().flatten();
        let ending = ending.chain(&self.leaving_zygotes);
        for (zygote, by_ns) in ending.filter_map(|z| z.end_by_ns.map(|by_ns| (z, by_ns))) {
            if by_ns <= now_ns {
                zygote.child.kill();
            } else {
                again_ns = Some(again_ns.map_or(by_ns, |again_ns: u64| again_ns.min(by_ns)));
            }
        }
        again_ns
    }

    /// Ends an import that takes too long, after it has shown where it is.
    fn end_long_imports(&mut self, now_ns: u64) {
        let Some(zygote) = &mut self.next_zygote else { return };
        if zygote.import_by_ns.is_none_or(|by_ns| by_ns > now_ns) {
            return;
        }
        zygote.import_by_ns = None;
        let limit_s = self.patrol.limits().import_timeout.as_secs_f64();
        let pid = zygote.child.pid();
        journal!(
            IMPORT_TIME_LIMIT,
            pid,
            limit_s,
            "the import of the application takes longer than `spooler-import-timeout`; ending it. \
             It does this:"
        );
        zygote.child.end_with_traceback();
        zygote.end_by_ns.get_or_insert(now_ns + TRACEBACK_NS);
    }

    /// Whether a zygote that was let go has this number; then it is forgotten.
    fn leaving_zygote_ended(&mut self, generation: u32) -> bool {
        let at = self.leaving_zygotes.iter().position(|zygote| zygote.generation == generation);
        let Some(at) = at else { return false };
        let zygote = self.leaving_zygotes.swap_remove(at);
        if zygote.import_by_ns.is_some() {
            self.kill_with_descent(&zygote);
        }
        let _ = self.poll.remove(zygote.socket.as_fd());
        let _ = self.poll.remove(zygote.child.as_fd());
        let _ = zygote.child.try_wait();
        self.forget_unforked(generation);
        true
    }

    /// The daemon ends: kills zygotes that have not.
    pub(super) fn kill_leaving_zygotes(&self) {
        for zygote in &self.leaving_zygotes {
            if zygote.import_by_ns.is_some() {
                self.kill_with_descent(zygote);
            } else {
                zygote.child.kill();
            }
        }
    }

    /// Kills a zygote with all that it has started, the child that imports for it and half of a
    /// fork too. Workers, which live in its session, are no descendants of it.
    fn kill_with_descent(&self, zygote: &Zygote) {
        let mark = mark(&zygote_mark_value(host::pid(), zygote.generation));
        kill_descent(zygote.child.pid(), mark.as_bytes(), &|pid| self.is_known(pid));
    }

    /// A zygote's process has ended.
    pub(super) fn zygote_ended(&mut self, generation: u32) {
        self.read_zygote(generation);
        if self.leaving_zygote_ended(generation) {
            return;
        }
        let current = self.zygote.as_ref().is_some_and(|z| z.generation == generation);
        let slot = if current { &mut self.zygote } else { &mut self.next_zygote };
        let Some(zygote) = slot.take_if(|z| z.generation == generation) else { return };
        if !current {
            // What an import has started goes with it; workers it has none.
            self.kill_with_descent(&zygote);
        }
        let exit = zygote.child.try_wait().ok().flatten().unwrap_or(Exit::Status(-1));
        let _ = self.poll.remove(zygote.socket.as_fd());
        let _ = self.poll.remove(zygote.child.as_fd());
        self.forget_unforked(generation);
        if self.ladder.is_some() {
            return;
        }
        let importing = if current { "" } else { " while it imported the application" };
        journal!(
            ZYGOTE_DIED,
            pid = zygote.child.pid(),
            cause = %exit,
            "zygote {exit}{importing}; starting another one"
        );
        if !current {
            self.import_ended(format!("the process that imported it {exit}"));
        }
        if !current && self.generation == 0 {
            // Who waits for the import has heard how it went; it may go like this for ever.
            self.moments.imported.reached();
        }
        if self.next_zygote.is_none() {
            self.zygote_later();
        }
    }
}
