//! What daemons left behind that died together with their workers: their slots name the tasks that
//! ran, and each of those is an attempt that failed.
//!
//! A slot counts only if the file is as it was when it was claimed, and nobody holds it: a worker that
//! outlived its daemon finishes its task and applies the outcome itself.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tracing::warn;
use unspool_spool::{SpoolDir, forget_present};
use unspool_sys::folder::{Folder, Stat, stat_file};
use unspool_sys::slots::{HandedTask, SlotState, SlotTable};
use unspool_sys::{clock, lock};

/// The file of a daemon's slots in its folder.
pub(crate) const SLOTS: &[u8] = b"slots";

/// A folder younger than this and without slots may be one that its daemon is still making.
const DEAD_AGE_NS: i64 = 60_000_000_000;

/// What of a daemon is left.
#[derive(Debug)]
struct DeadDaemon {
    name: Vec<u8>,
    folder: Folder,
    /// Locked: nobody else collects it.
    _slots: OwnedFd,
    /// Its tasks that are not accounted for yet.
    open: usize,
}

/// A task that ran when its daemon died.
#[derive(Debug, Clone, Copy)]
struct LostRun {
    daemon: usize,
    pid: u32,
    seen: bool,
}

/// The tasks of dead daemons.
#[derive(Debug, Default)]
pub(crate) struct LostRuns {
    daemons: Vec<Option<DeadDaemon>>,
    /// By inode and change time.
    runs: BTreeMap<(u64, i64), LostRun>,
}

impl LostRuns {
    /// Takes over what dead daemons left in a spool. What they did not run is removed at once.
    pub(crate) fn collect(dir: &SpoolDir) -> Self {
        let mut found = Self::default();
        for (name, folder) in dir.daemon_folders().unwrap_or_default() {
            if let Some(slots) = dead_slots(&folder) {
                found.add(dir, name, folder, slots);
            } else if is_abandoned(&folder) {
                remove(dir, &name, &folder);
            }
        }
        found
    }

    fn add(&mut self, dir: &SpoolDir, name: Vec<u8>, folder: Folder, slots: OwnedFd) {
        let number = self.daemons.len();
        let runs = running(&slots).unwrap_or_else(|error| {
            warn!(%error, "cannot read what a dead daemon ran; its attempts do not count");
            Vec::new()
        });
        for (task, pid) in &runs {
            let run = LostRun { daemon: number, pid: *pid, seen: false };
            self.runs.insert((task.inode, task.ctime_ns), run);
        }
        let open = self.runs.values().filter(|run| run.daemon == number).count();
        let daemon = DeadDaemon { name, folder, _slots: slots, open };
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

    /// The process that ran a task which was just claimed, if its daemon died meanwhile. Its attempt
    /// is accounted for then: the caller has to count it.
    pub(super) fn take(&mut self, dir: &SpoolDir, stat: &Stat) -> Option<u32> {
        self.settle(dir, (stat.inode, stat.ctime_ns))
    }

    fn settle(&mut self, dir: &SpoolDir, key: (u64, i64)) -> Option<u32> {
        let run = self.runs.remove(&key)?;
        if let Some(Some(daemon)) = self.daemons.get_mut(run.daemon) {
            daemon.open -= 1;
            if daemon.open == 0 {
                self.finish(dir, run.daemon);
            }
        }
        Some(run.pid)
    }

    fn finish(&mut self, dir: &SpoolDir, number: usize) {
        if let Some(daemon) = self.daemons.get_mut(number).and_then(Option::take) {
            remove(dir, &daemon.name, &daemon.folder);
        }
    }
}

/// The slots of a daemon that is dead, locked. They are locked before they have a length.
fn dead_slots(folder: &Folder) -> Option<OwnedFd> {
    let slots = folder.open_file(SLOTS).ok()?;
    let dead = lock::try_lock(slots.as_fd()).unwrap_or(false);
    let whole = stat_file(slots.as_fd()).is_ok_and(|stat| stat.bytes > 0);
    (dead && whole).then_some(slots)
}

fn running(slots: &OwnedFd) -> io::Result<Vec<(HandedTask, u32)>> {
    let table = SlotTable::open(slots.try_clone()?)?;
    let rows = (0..table.workers()).filter_map(|worker| table.row(worker));
    let running = rows.flatten().filter(|slot| slot.state() == SlotState::Running);
    Ok(running.map(|slot| (slot.named(), slot.pid())).collect())
}

/// Whether a daemon died before it had slots.
fn is_abandoned(folder: &Folder) -> bool {
    let stat = folder.stat(b".").ok().flatten();
    let old = stat.is_some_and(|stat| clock::now_ns() - stat.ctime_ns >= DEAD_AGE_NS);
    old && match folder.open_file(SLOTS) {
        Ok(slots) => lock::try_lock(slots.as_fd()).unwrap_or(false),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn remove(dir: &SpoolDir, name: &[u8], folder: &Folder) {
    let _ = forget_present(folder);
    let _ = folder.unlink(SLOTS);
    if let Ok(daemons) = dir.daemons_folder() {
        let _ = daemons.remove_sub(name);
    }
}
