//! The watcher: a thread that sees what becomes of files besides the spools.
//!
//! Owns the watches and the looks at files, so that no slow file system can hold the supervisor up,
//! and what the two have for each other, bounded by its form: sets and latest values, no queue. It
//! decides nothing: what follows from a change is `watched`'s matter.

mod folders;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;
use unspool_sys::clock;
use unspool_sys::notify::{Hint, Interest, Watcher as Notify};
use unspool_sys::poll::{Poll, Waker};

use self::folders::Folders;
use self::targets::{Found, Targets};

/// File monitors of an application; uWSGI has 64.
pub(super) const MONITORS_MAX: usize = 1024;
/// Source files that are watched.
pub(super) const SOURCES_MAX: usize = 20_000;

/// A source file as it was when the application read it.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) state: Seen,
}

/// A file or a directory that raises a signal.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    pub(super) path: PathBuf,
    pub(super) signal: u8,
    /// As it was when it was registered.
    pub(super) state: Seen,
}

/// What a touch of a file changes: its modification time, or whether it is there.
pub(super) type Seen = Option<(i64, u64)>;

/// What the watcher has seen since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Touches, by their number in the settings.
    pub(super) touched: BTreeSet<usize>,
    /// One of the application's files that changed, and how many did.
    pub(super) sources: Option<(PathBuf, usize)>,
    /// Signals of monitors.
    pub(super) signals: BTreeSet<u8>,
}

/// What the supervisor wants of the watcher.
#[derive(Debug, Default)]
struct Orders {
    sources: Option<Sources>,
    /// These and no others.
    monitors: Option<Vec<Monitor>>,
    /// These too.
    more_monitors: Vec<Monitor>,
    more_sources: Vec<SourceFile>,
    /// Signals whose monitors so far are over.
    silent: BTreeSet<u8>,
}

/// The files of an application.
#[derive(Debug)]
struct Sources {
    files: Vec<SourceFile>,
    /// The application could not be imported: the files of the one before count too, and so does
    /// a file that appears beside them.
    failed: bool,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    findings: Mutex<Findings>,
    /// Wakes the watcher.
    wake: Waker,
    /// Wakes the supervisor.
    supervisor: Arc<Waker>,
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
    /// What the thread starts with; `None` once it runs.
    start: Option<Start>,
    /// How many each signal has.
    monitors: BTreeMap<u8, usize>,
}

/// What is watched from the start.
#[derive(Debug)]
pub(super) struct Start {
    /// The path of each touch, and whether any event counts.
    pub(super) touches: Vec<(PathBuf, bool)>,
    /// How often sources are looked at where the system sends no events.
    pub(super) autoreload: Option<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    /// Starts the thread if there is something to watch; else the first monitor does.
    pub(super) fn new(start: Start, supervisor: Arc<Waker>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            orders: Mutex::default(),
            findings: Mutex::default(),
            wake: Waker::new()?,
            supervisor,
        });
        let wanted = !start.touches.is_empty() || start.autoreload.is_some();
        let mut watcher = Self { shared, start: Some(start), monitors: BTreeMap::new() };
        if wanted {
            watcher.run()?;
        }
        Ok(watcher)
    }

    fn run(&mut self) -> io::Result<()> {
        let Some(start) = self.start.take() else { return Ok(()) };
        let thread = Thread::new(start, Arc::clone(&self.shared))?;
        std::thread::Builder::new().name("watcher".to_owned()).spawn(move || thread.run())?;
        Ok(())
    }

    /// Takes what was seen.
    pub(super) fn take(&self) -> Findings {
        std::mem::take(&mut *lock(&self.shared.findings))
    }

    /// Watches the files of an application, in the place of those of the one before.
    pub(super) fn set_sources(&self, mut files: Vec<SourceFile>, failed: bool) {
        files.truncate(SOURCES_MAX);
        {
            let mut orders = lock(&self.shared.orders);
            orders.sources = Some(Sources { files, failed });
            orders.more_sources.clear();
        }
        // What changed while they were read is found by their state.
        lock(&self.shared.findings).sources = None;
        self.shared.wake.wake();
    }

    /// Watches the monitors of an application, in the place of those of the one before.
    pub(super) fn set_monitors(&mut self, mut monitors: Vec<Monitor>) {
        monitors.truncate(MONITORS_MAX);
        self.monitors.clear();
        for monitor in &monitors {
            *self.monitors.entry(monitor.signal).or_default() += 1;
        }
        if monitors.is_empty() && self.start.is_some() {
            return;
        }
        {
            let mut orders = lock(&self.shared.orders);
            orders.monitors = Some(monitors);
            orders.more_monitors.clear();
        }
        self.wake();
    }

    /// Watches one more, registered at run time. `false` if there are too many.
    pub(super) fn add_monitor(&mut self, monitor: Monitor) -> bool {
        if self.monitors.values().sum::<usize>() >= MONITORS_MAX {
            return false;
        }
        *self.monitors.entry(monitor.signal).or_default() += 1;
        lock(&self.shared.orders).more_monitors.push(monitor);
        self.wake();
        true
    }

    /// Forgets the monitors of a signal that has no handler any more.
    pub(super) fn remove_monitors(&mut self, signal: u8) {
        if self.monitors.remove(&signal).is_none() {
            return;
        }
        let mut orders = lock(&self.shared.orders);
        orders.more_monitors.retain(|monitor| monitor.signal != signal);
        if let Some(monitors) = &mut orders.monitors {
            monitors.retain(|monitor| monitor.signal != signal);
        }
        orders.silent.insert(signal);
        drop(orders);
        self.shared.wake.wake();
    }

    /// Watches more files of the application.
    pub(super) fn add_sources(&self, files: impl Iterator<Item = SourceFile>) {
        let mut orders = lock(&self.shared.orders);
        let room = SOURCES_MAX.saturating_sub(orders.more_sources.len());
        orders.more_sources.extend(files.take(room));
        drop(orders);
        self.shared.wake.wake();
    }

    fn wake(&mut self) {
        if let Err(error) = self.run() {
            warn!(%error, "cannot watch files: no monitor raises its signal");
        }
        self.shared.wake.wake();
    }
}

const KEY_WAKE: u64 = 0;
const KEY_NOTIFY: u64 = 1;

/// How often files are looked at of which the system sends no events.
const DEAF_EVERY_NS: u64 = 1_000_000_000;
/// How often every file is looked at all the same, at most, and which share of time it may take.
const ALL_EVERY_NS: u64 = 30_000_000_000;
const ALL_SHARE: u64 = 1000;

/// The watcher's own end.
#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    poll: Poll,
    notify: Notify,
    folders: Folders,
    targets: Targets,
    deaf_at_ns: u64,
    deaf_sources_at_ns: u64,
    sources_every_ns: u64,
    all_at_ns: u64,
}

impl Thread {
    fn new(start: Start, shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let notify = Notify::new(Interest::Everything)?;
        poll.add(shared.wake.as_fd(), KEY_WAKE)?;
        poll.add(notify.as_fd(), KEY_NOTIFY)?;
        let sources_every_ns =
            start.autoreload.map_or(DEAF_EVERY_NS, |interval| interval.as_nanos() as u64);
        let mut thread = Self {
            shared,
            poll,
            notify,
            folders: Folders::default(),
            targets: Targets::default(),
            deaf_at_ns: 0,
            deaf_sources_at_ns: 0,
            sources_every_ns,
            all_at_ns: clock::monotonic_ns() + ALL_EVERY_NS,
        };
        for (number, (path, any_event)) in start.touches.into_iter().enumerate() {
            thread.targets.add_touch(number, path, any_event, &mut thread.folders, &thread.notify);
        }
        Ok(thread)
    }

    fn run(mut self) {
        let mut keys = Vec::new();
        loop {
            // Nobody is left who could want to know.
            if Arc::strong_count(&self.shared) == 1 {
                return;
            }
            let now_ns = clock::monotonic_ns();
            let until_ns = self.next_ns();
            let timeout_ns = until_ns.saturating_sub(now_ns);
            if let Err(error) = self.poll.wait(&mut keys, Some(timeout_ns)) {
                warn!(%error, "cannot wait for changes of files: nothing is watched any more");
                return;
            }
            self.shared.wake.clear();
            let mut found = Found::default();
            self.obey(&mut found);
            self.read_hints(&mut found);
            self.look_if_due(&mut found);
            let now_ns = clock::monotonic_ns();
            self.targets.settle(&mut found, now_ns);
            self.report(found);
        }
    }

    fn next_ns(&self) -> u64 {
        let deaf = [
            (self.targets.any_deaf(), self.deaf_at_ns),
            (self.targets.any_deaf_source(), self.deaf_sources_at_ns),
        ];
        let deaf = deaf.into_iter().filter(|(any, _)| *any).map(|(_, at_ns)| at_ns);
        deaf.chain(self.targets.settles_at_ns()).fold(self.all_at_ns, u64::min)
    }

    fn obey(&mut self, found: &mut Found) {
        let mut orders = std::mem::take(&mut *lock(&self.shared.orders));
        let (targets, folders, notify) = (&mut self.targets, &mut self.folders, &self.notify);
        if let Some(sources) = orders.sources {
            targets.set_sources(sources.files, sources.failed, folders, notify);
        }
        for source in orders.more_sources {
            if let Some(source) = targets.add_source(source, folders, notify) {
                targets.look_at(source, folders, found);
            }
        }
        targets.remove_monitors(&|signal| orders.silent.contains(&signal), folders, notify);
        if let Some(monitors) = orders.monitors {
            targets.remove_monitors(&|_| true, folders, notify);
            orders.more_monitors.splice(..0, monitors);
        }
        for monitor in orders.more_monitors {
            let monitor = targets.add_monitor(monitor, folders, notify);
            targets.look_at(monitor, folders, found);
        }
    }

    fn read_hints(&mut self, found: &mut Found) {
        let mut hints = Vec::new();
        if let Err(error) = self.notify.read(|hint| hints.push(hint)) {
            warn!(%error, "cannot read the changes of files");
        }
        for hint in hints {
            let (watch, name) = match hint {
                Hint::Look { watch, name, .. }
                | Hint::Created { watch, name }
                | Hint::Gone { watch, name, .. } => (watch, name),
                Hint::FolderGone { watch } => {
                    self.folders.lost(watch);
                    self.all_at_ns = 0;
                    continue;
                }
                Hint::FolderMoved { .. } | Hint::Overflow => {
                    self.all_at_ns = 0;
                    continue;
                }
            };
            self.targets.hear(&self.folders, watch, &name, found);
        }
    }

    fn look_if_due(&mut self, found: &mut Found) {
        let now_ns = clock::monotonic_ns();
        if self.all_at_ns <= now_ns {
            self.folders.renew(&self.notify);
            self.targets.look_at_all(&self.folders, found);
            let cost_ns = clock::monotonic_ns() - now_ns;
            self.all_at_ns = now_ns + ALL_EVERY_NS.max(cost_ns.saturating_mul(ALL_SHARE));
        }
        if self.targets.any_deaf() && self.deaf_at_ns <= now_ns {
            self.folders.try_missing(&self.notify);
            self.targets.look_at_deaf(&self.folders, found, false);
            self.deaf_at_ns = now_ns + DEAF_EVERY_NS;
        }
        if self.targets.any_deaf_source() && self.deaf_sources_at_ns <= now_ns {
            self.targets.look_at_deaf(&self.folders, found, true);
            self.deaf_sources_at_ns = now_ns + self.sources_every_ns;
        }
    }

    fn report(&self, found: Found) {
        if found.is_empty() {
            return;
        }
        let mut findings = lock(&self.shared.findings);
        findings.touched.extend(found.touched);
        findings.signals.extend(found.signals);
        if let Some((path, count)) = found.sources {
            let before = findings.sources.take().map_or(0, |(_, count)| count);
            findings.sources = Some((path, before + count));
        }
        drop(findings);
        self.shared.supervisor.wake();
    }
}
