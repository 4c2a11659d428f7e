//! What the dispatcher learns of its spool: watches, scans, and single looks at files.

use std::collections::VecDeque;
use std::io;

use tracing::{error, warn};
use unspool_core::Priority;
use unspool_spool::{
    Change, Found, GARBAGE_AGE_NS, Scan, Watch, delete_garbage, is_due, submitted_at_ns,
};
use unspool_sys::clock;
use unspool_sys::folder::{Folder, Stat};

use super::index::{Evicted, Seen, State};
use super::{Dispatcher, KEY_CREATIONS, KEY_WATCH};
use crate::journal::journal;

/// Entries looked at between two looks at everything else.
const STEP_ENTRIES: usize = 500;
/// Priority folders that a spool can have.
pub(super) const LANES_MAX: usize = 1024;
/// A scan of a watched spool happens at most this often, and takes at most this share of time.
const SCAN_EVERY_NS: u64 = 30_000_000_000;
const SCAN_SHARE: u64 = 1000;
/// See [`SCAN_SHARE`], while there are more tasks than are kept in memory.
const SCAN_SHARE_IN_PART: u64 = 20;
/// A scan of what could not be looked at comes after this, then after twice as long each time.
const SCAN_SOON_NS: u64 = 1_000_000_000;
/// Reads of events that fail one after another, after which there are only scans.
const READS_FAILED_MAX: u32 = 8;
/// Tasks wait for the first scan, so that they run in order, but no longer than this.
const FIRST_SCAN_NS: u64 = 1_000_000_000;

/// How long creations are not waited for after some were seen.
const CREATIONS_EVERY_NS: u64 = 100_000_000;

/// The state of scanning.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Scanner {
    running: Option<(u32, Scan)>,
    folders: VecDeque<u32>,
    epoch: u32,
    started_ns: u64,
    next_ns: Option<u64>,
    /// Something was missed: start again when this scan is over.
    again: bool,
    failed: bool,
    /// It looks at all folders, not only at new ones.
    is_whole: bool,
    /// Folders that it found and that there is no lane for.
    beyond: usize,
    /// The last whole scan found some.
    had_beyond: bool,
    /// Scans that failed one after another.
    failures: u32,
    /// Reads of events that failed one after another.
    reads_failed: u32,
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

    /// Whether all that is there was seen: a scan is over, and met everything.
    pub(super) fn is_settled(&self) -> bool {
        self.first_done && !self.is_running() && !self.failed
    }

    /// Whether the scan that runs, or ran last, could not look at all folders.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The number of the scan that runs, or ran last.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// When the next scan starts, on the monotonic clock.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Starts the next scan at a time.
    pub(super) fn scan_at(&mut self, at_ns: u64) {
        self.next_ns = Some(at_ns);
    }

    /// Something could not be looked at: a scan does, soon, and later each time that it fails too.
    pub(super) fn scan_soon(&mut self, now_ns: u64) {
        self.failed = true;
        if self.is_running() {
            return;
        }
        let wait_ns = SCAN_SOON_NS << self.failures.min(5);
        let soon_ns = now_ns + wait_ns.min(SCAN_EVERY_NS);
        self.next_ns = Some(self.next_ns.map_or(soon_ns, |at_ns| at_ns.min(soon_ns)));
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
            watch.add_internal(&self.dir)?;
            Ok(watch)
        });
        match watch {
            Ok(watch) => {
                self.poll.add(watch.changes(), KEY_WATCH)?;
                self.poll.add_once(watch.creations(), KEY_CREATIONS)?;
                self.watch = Some(watch);
            }
            Err(error) => journal!(SPOOL_UNWATCHED,
                spool = %self.dir.path().display(),
                %error,
                "cannot watch the spool; scanning it at `spooler-frequency` instead"
            ),
        }
        if let (Some(network), Some(_)) = (self.network, &self.watch) {
            journal!(SPOOL_POLLED,
                spool = %self.dir.path().display(),
                file_system = network.name,
                every_s = self.frequency_ns as f64 / 1e9,
                "the spool is on a file system of several machines, which says nothing of what others do: \
                 scanning it at `spooler-frequency`"
            );
        }
        self.start_scan();
        Ok(())
    }

    pub(super) fn start_scan(&mut self) {
        // The event that tells of it comes when nobody has it open any more, which is never.
        self.top_gone |= !self.dir.is_in_place();
        self.reread_adoption();
        self.reread_pauses();
        let scanner = &mut self.scanner;
        if scanner.is_running() {
            scanner.again = true;
            return;
        }
        self.lost.scan_begins(&self.dir);
        self.room.begin(self.index.turnover());
        scanner.epoch = scanner.epoch.wrapping_add(1);
        scanner.started_ns = clock::monotonic_ns();
        scanner.failed = false;
        scanner.is_whole = true;
        scanner.had_beyond = std::mem::take(&mut scanner.beyond) > 0;
        scanner.next_ns = None;
        scanner.folders = (0..self.folders.len() as u32).collect();
    }

    /// Goes on with the scan that runs, or starts one whose time has come.
    pub(super) fn scan_step(&mut self) {
        if !self.scanner.is_running() {
            let is_time = self.scanner.next_ns.is_some_and(|at_ns| at_ns <= clock::monotonic_ns());
            if is_time || self.has_room_again() {
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
                Found::Unknown { name, error } => self.cannot_look(&name, &error),
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
            journal!(
                SUBMISSION_DELETED, file = %name, ?result,
                "deleting an unfinished submission of a day ago or more"
            );
        }
    }

    fn scan_failed(&mut self, lane: u32, error: &io::Error) {
        self.scanner.failed = true;
        let folder = self.dir.folder_path(self.index.priority(lane));
        journal!(
            SPOOL_SCAN_FAILED, folder = %folder.display(), %error,
            "cannot scan; trying again later"
        );
    }

    fn scan_over(&mut self) {
        let now_ns = clock::monotonic_ns();
        let cost_ns = now_ns.saturating_sub(self.scanner.started_ns);
        if !std::mem::take(&mut self.scanner.is_whole) {
            return self.new_folder_scanned(now_ns);
        }
        // What a scan that failed did not meet may well be there.
        if !self.scanner.failed {
            self.index.sweep(self.scanner.epoch);
            self.adopt_scanned();
            // So may what lies in a folder that it did not look at.
            if self.scanner.beyond == 0 {
                self.lost.scanned(&self.dir);
                self.sweep_records();
            }
        }
        if !self.scanner.first_done {
            self.scanner.first_done = true;
            let (tasks, due) = self.index.counts();
            let held = self.adopting.as_ref().map(|_| self.index.kept().count());
            journal!(SPOOL_SCANNED,
                spool = %self.dir.path().display(),
                tasks,
                due,
                held,
                ms = cost_ns / 1_000_000,
                "spool scanned"
            );
        }
        let polled_ns = (self.frequency_ns as u64).max(cost_ns);
        let every_ns = match self.watch {
            Some(_) if self.network.is_some() => polled_ns,
            Some(_) if self.room.is_enough() => {
                SCAN_EVERY_NS.max(cost_ns.saturating_mul(SCAN_SHARE))
            }
            Some(_) => SCAN_EVERY_NS.max(cost_ns.saturating_mul(SCAN_SHARE_IN_PART)),
            None => polled_ns,
        };
        self.room_scanned(cost_ns);
        self.scanner.next_ns = Some(now_ns + self.scan_within_ns(every_ns));
        if self.scanner.failed {
            self.scanner.scan_soon(now_ns);
            self.scanner.failures = self.scanner.failures.saturating_add(1);
        } else {
            self.scanner.failures = 0;
        }
        if self.room.is_enough() && !self.scanner.failed && self.scanner.beyond == 0 {
            self.counting.scanned(&self.dir);
        }
        if std::mem::take(&mut self.scanner.again) {
            self.start_scan();
        }
    }

    /// A scan of a new folder is over, which says nothing about others: neither what is gone nor what
    /// there is room for, or when to look next.
    fn new_folder_scanned(&mut self, now_ns: u64) {
        if self.scanner.failed {
            self.scanner.scan_soon(now_ns);
        }
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
        self.counting.heard();
        if result.is_ok() {
            self.scanner.reads_failed = 0;
        }
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
            self.cannot_read_events(&error);
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
                Change::Adopted => {
                    self.reread_adoption();
                    // What there was no room to keep may be decided too.
                    if self.keeps_more() {
                        self.start_scan();
                    }
                }
                Change::Paused => self.reread_pauses(),
                Change::Missed => self.start_scan(),
            }
        }
    }

    /// Events that cannot be read are there for ever, and would keep this thread busy.
    fn cannot_read_events(&mut self, error: &io::Error) {
        error!(%error, "cannot read file system events; scanning instead");
        self.scanner.reads_failed += 1;
        if self.scanner.reads_failed >= READS_FAILED_MAX
            && let Some(watch) = self.watch.take()
        {
            error!("events are no longer read; scanning at `spooler-frequency` until a restart");
            let _ = self.poll.remove(watch.changes());
            let _ = self.poll.remove(watch.creations());
            self.creations.again_ns = None;
        }
        self.start_scan();
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
            Err(error) => self.cannot_look(name, &error),
        }
    }

    fn cannot_look(&mut self, name: &[u8], error: &io::Error) {
        let name = String::from_utf8_lossy(name);
        warn!(%name, %error, "cannot look at a task; the next scan does");
        self.seen_in_part();
        self.scanner.scan_soon(clock::monotonic_ns());
    }

    fn take_in(&mut self, lane: u32, name: &[u8], stat: &Stat) {
        // Also of what there is no room for: it was met.
        if !self.lost.is_empty() {
            self.lost.saw(stat);
        }
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return };
        let submitted_ns = submitted_at_ns(folder, name, stat);
        let seen = Seen {
            due_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
            submitted_ns,
            bytes: stat.bytes,
        };
        if self.adopting.is_some() && self.keep_back(lane, name, seen) {
            return;
        }
        let task = if is_due(stat, self.now_ns()) {
            Evicted::Due { lane, submitted_ns }
        } else {
            Evicted::Delayed { due_ns: stat.mtime_ns }
        };
        if !self.has_room(name, lane, task) {
            return;
        }
        if self.index.see(lane, name, seen, self.scanner.epoch, self.now_ns()) {
            journal!(TASK_SEEN, task = %self.shown(lane, name), "task seen");
        }
    }

    /// A folder of a priority is there: watch it, then scan it.
    fn add_priority(&mut self, priority: &Priority) {
        if self.index.known_lane(priority).is_none() && self.index.lanes_used() >= self.lanes_max {
            return self.leave_out(priority);
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
                self.scanner.scan_soon(clock::monotonic_ns());
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
        self.pause_lanes();
        for worker in self.workers.values_mut() {
            worker.forget_folder(lane);
        }
        self.scanner.folders.push_back(lane);
    }

    /// There is no lane for a folder. Its tasks are not known: nobody is told how many there are in all,
    /// and nothing that may belong to them is taken for gone.
    fn leave_out(&mut self, priority: &Priority) {
        self.scanner.beyond += 1;
        if self.scanner.beyond == 1 && !self.scanner.had_beyond {
            let priority = String::from_utf8_lossy(priority.as_bytes());
            warn!(
                spool = %self.dir.path().display(), %priority, limit = self.lanes_max,
                "there are more folders of priorities than the limit (1024, and half of the files that \
                 may be open): the tasks of this one do not run, and of those that follow; remove empty \
                 folders, or raise `LimitNOFILE`"
            );
        }
        self.seen_in_part();
        self.counting.stop();
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
        self.room.forget_lane(lane);
        if let Some(folder) = self.folders.get_mut(lane as usize) {
            *folder = None;
        }
        self.index.retire_lane(lane);
    }
}
