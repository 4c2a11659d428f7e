//! What the dispatcher learns of its spool: watches, scans, and single looks at files.

use std::collections::VecDeque;
use std::io;

use tracing::{error, info, warn};
use unspool_core::Priority;
use unspool_spool::{Change, Found, GARBAGE_AGE_NS, Scan, Watch, delete_garbage, submitted_at_ns};
use unspool_sys::clock;
use unspool_sys::folder::{Folder, Stat};

use super::index::{Seen, State};
use super::{Dispatcher, KEY_CREATIONS, KEY_WATCH};

/// Entries looked at between two looks at everything else.
const STEP_ENTRIES: usize = 500;
/// Priority folders that a spool can have.
pub(super) const LANES_MAX: usize = 1024;
/// A scan of a watched spool happens at most this often, and takes at most this share of time.
const SCAN_EVERY_NS: u64 = 30_000_000_000;
const SCAN_SHARE: u64 = 1000;
/// Tasks wait for the first scan, so that they run in order, but no longer than this.
const FIRST_SCAN_NS: u64 = 1_000_000_000;

/// How long creations are not waited for after some were seen.
const CREATIONS_EVERY_NS: u64 = 100_000_000;

/// The state of scanning.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    running: Option<(u32, Scan)>,
    folders: VecDeque<u32>,
    epoch: u32,
    started_ns: u64,
    next_ns: Option<u64>,
    /// Something was missed: start again when this scan is over.
    again: bool,
    failed: bool,
    first_done: bool,
}

/// How far creations are heard of.
#[derive(Debug, Default)]
pub(super) struct Creations {
    /// When they are looked at next, on the monotonic clock; `None` while they are waited for.
    pub(super) again_ns: Option<u64>,
    /// There were some since they were last waited for or looked at because it was time to.
    any: bool,
    /// Something else happened that they may have to do with.
    changed: bool,
}

impl Scanner {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some() || !self.folders.is_empty()
    }

    /// The number of the scan that runs, or ran last.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// When the next scan starts, on the monotonic clock.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Whether enough is known to choose the next task.
    pub(super) fn knows_enough(&self, now_ns: u64) -> bool {
        self.first_done || now_ns.saturating_sub(self.started_ns) > FIRST_SCAN_NS
    }
}

impl Dispatcher {
    /// Opens the top folder, watches it and starts the first scan.
    pub(super) fn start_watching(&mut self) -> io::Result<()> {
        self.index.lane(None);
        self.folders.push(Some(self.dir.top().try_clone()?));
        let watch = Watch::new().and_then(|mut watch| {
            watch.add(&self.dir, None, 0)?;
            if self.adopting.is_some() {
                watch.add_internal(&self.dir)?;
            }
            Ok(watch)
        });
        match watch {
            Ok(watch) => {
                self.poll.add(watch.changes(), KEY_WATCH)?;
                self.poll.add_once(watch.creations(), KEY_CREATIONS)?;
                self.watch = Some(watch);
            }
            Err(error) => warn!(
                spool = %self.dir.path().display(),
                %error,
                "cannot watch the spool; scanning it at `spooler-frequency` instead"
            ),
        }
        self.start_scan();
        Ok(())
    }

    pub(super) fn start_scan(&mut self) {
        // The event that tells of it comes when nobody has it open any more, which is never.
        self.top_gone |= !self.dir.is_in_place();
        self.reread_adoption();
        let scanner = &mut self.scanner;
        if scanner.is_running() {
            scanner.again = true;
            return;
        }
        scanner.epoch = scanner.epoch.wrapping_add(1);
        scanner.started_ns = clock::monotonic_ns();
        scanner.failed = false;
        scanner.next_ns = None;
        scanner.folders = (0..self.folders.len() as u32).collect();
    }

    /// Goes on with the scan that runs, or starts one whose time has come.
    pub(super) fn scan_step(&mut self) {
        if !self.scanner.is_running() {
            if self.scanner.next_ns.is_some_and(|at_ns| at_ns <= clock::monotonic_ns()) {
                self.start_scan();
            }
            return;
        }
        if self.scanner.running.is_none() {
            let Some(lane) = self.scanner.folders.pop_front() else { return };
            if let Some(Some(folder)) = self.folders.get(lane as usize) {
                match Scan::start(folder) {
                    Ok(scan) => self.scanner.running = Some((lane, scan)),
                    Err(error) => self.scan_failed(lane, &error),
                }
            }
        }
        if let Some((lane, mut scan)) = self.scanner.running.take() {
            match self.scan_slice(lane, &mut scan) {
                Ok(true) => self.scanner.running = Some((lane, scan)),
                Ok(false) => {}
                Err(error) => self.scan_failed(lane, &error),
            }
        }
        if !self.scanner.is_running() {
            self.scan_over();
        }
    }

    fn scan_slice(&mut self, lane: u32, scan: &mut Scan) -> io::Result<bool> {
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return Ok(false) };
        let mut found = Vec::with_capacity(STEP_ENTRIES);
        let more = scan.step(folder, STEP_ENTRIES, |thing| found.push(thing));
        for thing in found {
            match thing {
                Found::Task { name, stat } => self.take_in(lane, &name, &stat),
                Found::Aside { name, stat } => self.collect(lane, &name, &stat),
                Found::Priority(priority) if lane == 0 => self.add_priority(&priority),
                Found::Priority(inner) => self.note_nested(lane, &inner),
            }
        }
        more
    }

    /// Deletes what a submitter left that died long ago.
    fn collect(&self, lane: u32, name: &[u8], stat: &Stat) {
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return };
        if clock::now_ns() - stat.ctime_ns > GARBAGE_AGE_NS {
            let result = delete_garbage(folder, name);
            let name = String::from_utf8_lossy(name);
            info!(file = %name, ?result, "deleting an unfinished submission of a day ago or more");
        }
    }

    fn scan_failed(&mut self, lane: u32, error: &io::Error) {
        self.scanner.failed = true;
        let folder = self.dir.folder_path(self.index.priority(lane));
        error!(folder = %folder.display(), %error, "cannot scan; trying again later");
    }

    fn scan_over(&mut self) {
        let now_ns = clock::monotonic_ns();
        let cost_ns = now_ns.saturating_sub(self.scanner.started_ns);
        // What a scan that failed did not meet may well be there; that of one new folder, which
        // may follow it, meets even less.
        if !self.scanner.failed {
            self.index.sweep(self.scanner.epoch);
            self.adopt_scanned();
            self.lost.scanned(&self.dir);
        }
        if !self.scanner.first_done {
            self.scanner.first_done = true;
            let (tasks, due) = self.index.counts();
            let held = self.adopting.as_ref().map(|_| self.index.kept().count());
            info!(
                spool = %self.dir.path().display(),
                tasks,
                due,
                held,
                ms = cost_ns / 1_000_000,
                "spool scanned"
            );
        }
        let every_ns = match self.watch {
            Some(_) => SCAN_EVERY_NS.max(cost_ns.saturating_mul(SCAN_SHARE)),
            None => (self.frequency_ns as u64).max(cost_ns),
        };
        self.scanner.next_ns = Some(now_ns + every_ns);
        if std::mem::take(&mut self.scanner.again) {
            self.start_scan();
        }
    }

    pub(super) fn read_watch(&mut self) {
        let Some(mut watch) = self.watch.take() else { return };
        let mut changes = Vec::new();
        let result = watch.read(|change| changes.push(change));
        self.watch = Some(watch);
        self.creations.changed = true;
        self.watched(changes, result);
    }

    /// Looks at what was created, if it is time to or something else happened.
    ///
    /// What is created is hardly ever of interest: a task written in place counts once it is closed,
    /// our submitters touch a priority's folder that they made. It is left for folders that others
    /// make, and for tasks that are published as hard links. So that not every submission wakes this
    /// thread twice, creations are waited for only after a time without any.
    pub(super) fn read_creations(&mut self) {
        let now_ns = clock::monotonic_ns();
        let creations = &mut self.creations;
        let is_time = creations.again_ns.is_some_and(|at_ns| at_ns <= now_ns);
        if !is_time && !std::mem::take(&mut creations.changed) {
            return;
        }
        let Some(mut watch) = self.watch.take() else { return };
        let mut changes = Vec::new();
        let result = watch.read_creations(|change| changes.push(change));
        let creations = &mut self.creations;
        creations.any |= !matches!(result, Ok(false));
        if is_time {
            creations.again_ns = Some(now_ns + CREATIONS_EVERY_NS);
            if !std::mem::take(&mut creations.any) {
                match self.poll.rearm(watch.creations(), KEY_CREATIONS) {
                    Ok(()) => creations.again_ns = None,
                    Err(error) => error!(%error, "cannot wait for new names"),
                }
            }
        }
        self.watch = Some(watch);
        self.watched(changes, result.map(|_| ()));
    }

    fn watched(&mut self, mut changes: Vec<Change>, result: io::Result<()>) {
        if let Err(error) = result {
            error!(%error, "cannot read file system events; scanning instead");
            self.start_scan();
        }
        // A submission is seen twice in a row: renamed, then closed.
        changes.dedup();
        for change in changes {
            match change {
                Change::Task { folder, name } => self.look(folder, &name, 1),
                Change::Created { folder, name } => self.look(folder, &name, 2),
                Change::Gone { folder, name } => {
                    if let Some(key) = self.index.find(folder, &name)
                        && self.index.state(key) != Some(State::Out)
                    {
                        self.index.remove(key);
                    }
                }
                Change::Priority(priority) => self.add_priority(&priority),
                Change::PriorityGone(priority) => {
                    // Another one may have its name, which creations told of before.
                    if let Some(lane) = self.index.known_lane(&priority)
                        && !self.has_folder(lane, &priority)
                    {
                        self.folder_gone(lane);
                    }
                }
                Change::FolderGone(lane) => self.folder_gone(lane),
                Change::Adopted => self.reread_adoption(),
                Change::Missed => self.start_scan(),
            }
        }
    }

    /// Looks at one file that an event named. With fewer names than `links` it is not whole yet.
    fn look(&mut self, lane: u32, name: &[u8], links: u64) {
        let known = self.index.find(lane, name).and_then(|key| self.index.state(key));
        // Whatever is new about a task that is known is told by other events than its creation.
        if known == Some(State::Out) || (known.is_some() && links > 1) {
            return;
        }
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return };
        match folder.stat(name) {
            Ok(Some(stat)) if stat.kind == unspool_sys::FileKind::File && stat.links >= links => {
                self.take_in(lane, name, &stat);
            }
            Ok(_) => {}
            Err(error) => {
                let name = String::from_utf8_lossy(name);
                warn!(%name, %error, "cannot look at a task; the next scan does");
            }
        }
    }

    fn take_in(&mut self, lane: u32, name: &[u8], stat: &Stat) {
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return };
        let submitted_ns = submitted_at_ns(folder, name, stat);
        if !self.lost.is_empty() {
            self.lost.saw(stat);
        }
        let seen = Seen { due_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns, submitted_ns };
        if self.adopting.is_some() && self.keep_back(lane, name, seen) {
            return;
        }
        self.index.see(lane, name, seen, self.scanner.epoch, clock::now_ns());
    }

    /// A folder of a priority is there: watch it, then scan it.
    fn add_priority(&mut self, priority: &Priority) {
        if self.index.known_lane(priority).is_none() && self.index.lanes_used() >= self.lanes_max {
            let priority = String::from_utf8_lossy(priority.as_bytes());
            warn!(%priority, "too many priorities; the tasks of this one do not run");
            self.seen_in_part();
            return;
        }
        let lane = self.index.lane(Some(priority));
        if self.has_folder(lane, priority) {
            return;
        }
        let folder: Folder = match self.dir.priority_folder(priority) {
            Ok(Some(folder)) => folder,
            // Gone again already.
            Ok(None) => return self.folder_gone(lane),
            Err(error) => {
                let priority = String::from_utf8_lossy(priority.as_bytes());
                error!(%priority, %error, "cannot open a priority's folder");
                self.seen_in_part();
                return;
            }
        };
        let watched =
            self.watch.as_mut().map_or(Ok(()), |w| w.add(&self.dir, Some(priority), lane));
        if let Err(error) = watched {
            // Deleted again already.
            if error.kind() == io::ErrorKind::NotFound {
                self.index.retire_lane(lane);
                return;
            }
            let priority = String::from_utf8_lossy(priority.as_bytes());
            warn!(%priority, %error, "cannot watch a priority's folder; scans find its tasks");
        }
        self.folders.resize_with(self.index.lane_count(), || None);
        self.folders[lane as usize] = Some(folder);
        for worker in self.workers.values_mut() {
            worker.forget_folder(lane);
        }
        if !self.scanner.is_running() {
            // What the next scan costs is measured from here.
            self.scanner.started_ns = clock::monotonic_ns();
        }
        self.scanner.folders.push_back(lane);
    }

    /// Whether a lane's folder is open and still has the name of its priority.
    fn has_folder(&self, lane: u32, priority: &Priority) -> bool {
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return false };
        let named = self.dir.top().stat(priority.as_bytes()).ok().flatten();
        let open = folder.stat(b".").ok().flatten();
        matches!((named, open), (Some(a), Some(b)) if (a.inode, a.device) == (b.inode, b.device))
    }

    fn folder_gone(&mut self, lane: u32) {
        if lane == 0 {
            self.top_gone = true;
            return;
        }
        self.index.clear_lane(lane);
        if let Some(folder) = self.folders.get_mut(lane as usize) {
            *folder = None;
        }
        self.index.retire_lane(lane);
    }
}
