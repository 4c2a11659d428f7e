//! What daemons left behind that died together with their workers: their notes name the tasks that
//! ran, and each of those is an attempt that failed.
//!
//! A note counts only if the file is as it was when it was claimed, and nobody holds it: a worker that
//! outlived its daemon finishes its task and applies the outcome itself.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use tracing::warn;
use unspool_spool::{
    DeadNotes, LivingDaemon, Run, SpoolDir, is_abandoned, is_of_another_host, remove_daemon,
    runs_in, take_dead_notes,
};
use unspool_sys::clock;
use unspool_sys::file::stat_file;
use unspool_sys::folder::{Folder, Stat};

/// Other daemons of the spool whose lives are watched. What more of them leave is met by the next scan.
const OTHERS_MAX: usize = 16;

/// What of a daemon is left.
#[derive(Debug)]
struct DeadDaemon {
    name: Vec<u8>,
    folder: Folder,
    /// Locked: nobody else collects it.
    _notes: DeadNotes,
    /// Its tasks that are not accounted for yet.
    open: usize,
}

/// A task that ran when its daemon died.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostRun {
    daemon: usize,
    /// Its worker.
    pub(super) pid: u32,
    /// Somebody had cancelled it.
    pub(super) cancelled: bool,
    seen: bool,
}

/// The tasks of dead daemons.
#[derive(Debug, Default)]
pub(crate) struct LostRuns {
    daemons: Vec<Option<DeadDaemon>>,
    /// By inode and change time.
    runs: BTreeMap<(u64, i64), LostRun>,
    /// The name of this daemon's own folder.
    own: Vec<u8>,
    /// Those that run the spool, too.
    others: Vec<LivingDaemon>,
    /// The folder of all, and when it had changed last as they were looked at.
    folder: Option<Folder>,
    changed_ns: i64,
}

impl LostRuns {
    /// Takes over what dead daemons left in a spool. What they did not run is removed at once.
    pub(crate) fn collect(dir: &SpoolDir) -> Self {
        let mut found = Self::default();
        found.look(dir, false);
        found
    }

    /// This daemon has a folder of this name now.
    pub(crate) fn is_own(&mut self, name: &[u8]) {
        self.own = name.to_vec();
    }

    /// Whether another daemon has died since they were looked at, or one is new. It is asked of every
    /// task, and costs two calls.
    pub(super) fn others_changed(&self) -> bool {
        self.others.iter().any(|other| !other.lives())
            || self.folder_changed_ns() != self.changed_ns
    }

    fn folder_changed_ns(&self) -> i64 {
        let stat = self.folder.as_ref().and_then(|folder| stat_file(folder.as_fd()).ok());
        stat.map_or(0, |stat| stat.mtime_ns)
    }

    /// The same as [`Self::collect`], and who else lives. A scan that `scans` while this is done may
    /// have met their files already.
    pub(super) fn look(&mut self, dir: &SpoolDir, scans: bool) {
        self.others.clear();
        self.folder = dir.daemons_folder().ok();
        self.changed_ns = self.folder_changed_ns();
        // Whether a daemon of another machine lives is told by locks alone that both see.
        let has_own_locks = dir.network().is_some_and(|network| !network.locks_are_shared);
        for (name, folder) in dir.daemon_folders().unwrap_or_default() {
            if has_own_locks && is_of_another_host(&folder) {
                continue;
            }
            if name == self.own || self.daemons.iter().flatten().any(|dead| dead.name == name) {
                continue;
            }
            if let Some(notes) = take_dead_notes(&folder) {
                self.add(dir, name, folder, notes, scans);
            } else if is_abandoned(&folder, clock::now_ns()) {
                remove(dir, &name, &folder);
            } else if self.others.len() < OTHERS_MAX {
                self.others.extend(LivingDaemon::open(name, &folder));
            }
        }
    }

    /// A scan begins.
    pub(super) fn scan_begins(&mut self, dir: &SpoolDir) {
        self.look(dir, false);
        for run in self.runs.values_mut() {
            run.seen = false;
        }
    }

    fn add(&mut self, dir: &SpoolDir, name: Vec<u8>, folder: Folder, notes: DeadNotes, seen: bool) {
        let number = self.daemons.len();
        let runs = runs_in(&notes).unwrap_or_else(|error| {
            warn!(%error, "cannot read what a dead daemon ran; its attempts do not count");
            Vec::new()
        });
        for Run { inode, ctime_ns, pid, cancelled } in runs {
            let run = LostRun { daemon: number, pid, cancelled, seen };
            self.runs.insert((inode, ctime_ns), run);
        }
        let open = self.runs.values().filter(|run| run.daemon == number).count();
        let daemon = DeadDaemon { name, folder, _notes: notes, open };
        self.daemons.push(Some(daemon));
        if open == 0 {
            self.finish(dir, number);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// A scan has met a file.
    pub(super) fn saw(&mut self, stat: &Stat) {
        if let Some(run) = self.runs.get_mut(&(stat.inode, stat.ctime_ns)) {
            run.seen = true;
        }
    }

    /// A scan has met all files: what it did not meet is done, or has changed since.
    pub(super) fn scanned(&mut self, dir: &SpoolDir) {
        let gone: Vec<_> =
            self.runs.iter().filter(|(_, run)| !run.seen).map(|(key, _)| *key).collect();
        for key in gone {
            self.settle(dir, key);
        }
    }

    /// The run of a task which was just claimed, if its daemon died meanwhile. Its attempt is accounted
    /// for then: the caller has to count it.
    pub(super) fn take(&mut self, dir: &SpoolDir, stat: &Stat) -> Option<LostRun> {
        self.settle(dir, (stat.inode, stat.ctime_ns))
    }

    fn settle(&mut self, dir: &SpoolDir, key: (u64, i64)) -> Option<LostRun> {
        let run = self.runs.remove(&key)?;
        if let Some(Some(daemon)) = self.daemons.get_mut(run.daemon) {
            daemon.open -= 1;
            if daemon.open == 0 {
                self.finish(dir, run.daemon);
            }
        }
        Some(run)
    }

    fn finish(&mut self, dir: &SpoolDir, number: usize) {
        if let Some(daemon) = self.daemons.get_mut(number).and_then(Option::take) {
            remove(dir, &daemon.name, &daemon.folder);
        }
    }
}

fn remove(dir: &SpoolDir, name: &[u8], folder: &Folder) {
    // What stays is looked at again by the next start.
    let _ = remove_daemon(dir, name, folder);
}
