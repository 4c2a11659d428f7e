//! Census: how many tasks lie in a spool, and when they are due, by their names and times.
//!
//! One thread lists the names and several look at the files, since a look costs more: of a million tasks
//! more than a second on a small machine. Whoever cannot wait that long has some of them counted by their
//! names alone. No more is held than the names that are on their way. Only files that are locked, and old
//! ones of uWSGI's, are opened.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use unspool_core::Priority;
use unspool_sys::clock;
use unspool_sys::folder::{FileKind, Folder, os_str};
use unspool_sys::locked::locked_inodes;

use crate::find::{Kept, Place, Whereabouts};
use crate::inspect::inspect;
use crate::layout::{is_task_name, submitted_ns};
use crate::list::Listed;
use crate::part::is_denied;
use crate::{Adoption, SpoolView};

/// Threads that look,
const THREADS_MAX: usize = 8;
/// names that one gets at a time,
const NAMES: usize = 512;
/// and how many such lots wait for each.
const LOTS_WAITING: usize = 4;

/// How many tasks there are in one folder, or in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Somebody has claimed them.
    pub running: u64,
    /// Due, waiting for a worker.
    pub due: u64,
    /// Not due yet; those that failed and wait for another try, too.
    pub delayed: u64,
    /// Old ones of uWSGI's, about which nobody has decided.
    pub held: u64,
    /// Not looked at, for want of time: any of those.
    pub unseen: u64,
    /// Of the files of those that were looked at.
    pub bytes: u64,
    /// When the oldest of those that are due was due, in nanoseconds since 1970.
    pub oldest_due_ns: Option<i64>,
    /// When the next of those that are not is due, in nanoseconds since 1970.
    pub next_due_ns: Option<i64>,
}

impl Depth {
    /// All of them.
    pub fn tasks(&self) -> u64 {
        self.running + self.due + self.delayed + self.held + self.unseen
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.running += other.running;
        self.due += other.due;
        self.delayed += other.delayed;
        self.held += other.held;
        self.unseen += other.unseen;
        self.bytes += other.bytes;
        self.oldest_due_ns = earlier(self.oldest_due_ns, other.oldest_due_ns);
        self.next_due_ns = earlier(self.next_due_ns, other.next_due_ns);
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

/// What lies in a spool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Of each folder that has any; without a priority last.
    pub folders: Vec<(Option<Priority>, Depth)>,
    /// Those that were given up, if they could be counted.
    pub dead: Option<u64>,
    /// Those in `corrupt/`.
    pub corrupt: Option<u64>,
    /// Folders that could not be looked at, so that their tasks are not counted.
    pub unread: Vec<UnreadFolder>,
}

/// A folder of a spool that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot count the tasks in `{path}`: {why}")]
pub struct UnreadFolder {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub why: String,
}

impl Census {
    /// Of all folders.
    pub fn all(&self) -> Depth {
        let mut all = Depth::default();
        for (_, depth) in &self.folders {
            all.add(depth);
        }
        all
    }
}

/// Counts the tasks of a spool. `adoption` tells which ones are held. After `limit` no more files are
/// looked at.
///
/// # Errors
/// The spool itself cannot be read, or a file in it not be looked at. Other folders are told in the census.
pub fn census(
    spool: &SpoolView,
    adoption: Option<&Adoption>,
    now_ns: i64,
    limit: Option<Duration>,
) -> io::Result<Census> {
    let locked = locked_inodes()?;
    let until_ns = limit.map_or(u64::MAX, |limit| {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        clock::monotonic_ns().saturating_add(limit_ns)
    });
    let looker = Looker { locked: &locked, adoption, now_ns, until_ns };
    let mut priorities = Vec::new();
    let mut depths = BTreeMap::new();
    let top = Arc::new(spool.top().try_clone()?);
    let depth = looker.count(&top, None, |name| priorities.extend(Priority::new(name)))?;
    let mut found = census_kept(spool);
    for priority in priorities {
        let counted = folder_of(spool, &priority).and_then(|folder| {
            let count = |folder| looker.count(&Arc::new(folder), Some(&priority), |_| {});
            folder.map(count).transpose()
        });
        match counted {
            Ok(depth) => depths.extend(depth.map(|depth| (priority, depth))),
            Err(error) => found.unread.push(unread_folder(spool, priority.as_bytes(), &error)),
        }
    }
    let mut folders: Vec<_> = depths.into_iter().map(|(name, depth)| (Some(name), depth)).collect();
    folders.push((None, depth));
    folders.retain(|(_, depth)| depth.tasks() > 0);
    Ok(Census { folders, ..found })
}

/// Counts what lies in `dead/` and `corrupt/` alone, by its names.
pub fn census_kept(spool: &SpoolView) -> Census {
    let mut found = Census::default();
    for (kept, count) in [(Kept::Dead, &mut found.dead), (Kept::Corrupt, &mut found.corrupt)] {
        match count_kept(spool, kept) {
            Ok(tasks) => *count = Some(tasks),
            Err(error) => found.unread.push(unread_folder(spool, kept.folder(), &error)),
        }
    }
    found
}

fn unread_folder(spool: &SpoolView, name: &[u8], error: &io::Error) -> UnreadFolder {
    UnreadFolder { path: spool.path().join(os_str(name)), why: error.to_string() }
}

/// `None` for what is no folder.
fn folder_of(spool: &SpoolView, priority: &Priority) -> io::Result<Option<Folder>> {
    match spool.priority_folder(priority) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        other => other,
    }
}

fn count_kept(spool: &SpoolView, kept: Kept) -> io::Result<u64> {
    let Some(folder) = spool.sub(kept.folder())? else { return Ok(0) };
    let mut tasks = 0;
    for entry in folder.list()? {
        tasks += u64::from(is_task_name(&entry?.0));
    }
    Ok(tasks)
}

/// Looks at files.
#[derive(Clone, Copy)]
struct Looker<'a> {
    locked: &'a HashSet<u64>,
    adoption: Option<&'a Adoption>,
    now_ns: i64,
    /// On the monotonic clock.
    until_ns: u64,
}

type Names = Vec<Vec<u8>>;

impl Looker<'_> {
    /// Counts the tasks of one folder, and says the names of what may be folders in it.
    fn count(
        &self,
        folder: &Arc<Folder>,
        priority: Option<&Priority>,
        mut each_folder: impl FnMut(&[u8]),
    ) -> io::Result<Depth> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let (sender, receiver) = sync_channel::<Names>(LOTS_WAITING * threads);
        let receiver = Mutex::new(receiver);
        thread::scope(|scope| {
            let look = || self.look_at_all(&receiver, folder, priority);
            let lookers: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
            let listed = send_names(folder, sender, &mut each_folder);
            let mut all = Depth::default();
            for looker in lookers {
                let depth = looker.join().map_err(|_| io::Error::other("a look has failed"))??;
                all.add(&depth);
            }
            listed.map(|()| all)
        })
    }

    /// Looks at what comes. After a failure it takes the rest and leaves it, so that nobody waits.
    fn look_at_all(
        &self,
        names: &Mutex<Receiver<Names>>,
        folder: &Arc<Folder>,
        priority: Option<&Priority>,
    ) -> io::Result<Depth> {
        let mut depth = Depth::default();
        // Through a descriptor of its own a thread looks without waiting for the others.
        let (own, mut result) = match folder.open_sub(b".") {
            Ok(own) => (Arc::new(own), Ok(())),
            Err(error) => (Arc::clone(folder), Err(error)),
        };
        loop {
            let received = names.lock().map_err(|_| io::Error::other("a look has failed"))?.recv();
            let Ok(names) = received else { return result.map(|()| depth) };
            if clock::monotonic_ns() > self.until_ns {
                depth.unseen += names.len() as u64;
                continue;
            }
            for name in names {
                if result.is_ok() {
                    result = self.look(&mut depth, &own, priority, name);
                }
            }
        }
    }

    fn look(
        &self,
        depth: &mut Depth,
        folder: &Arc<Folder>,
        priority: Option<&Priority>,
        name: Vec<u8>,
    ) -> io::Result<()> {
        let Some(stat) = folder.stat(&name)?.filter(|stat| stat.kind == FileKind::File) else {
            return Ok(());
        };
        let due_ns = stat.mtime_ns;
        let suspect = self.adoption.filter(|adoption| {
            let submitted = submitted_ns(&name).unwrap_or(stat.ctime_ns);
            adoption.suspects(priority, submitted, due_ns)
        });
        let may_be_locked = self.locked.contains(&stat.inode);
        depth.bytes += stat.bytes;
        if suspect.is_some() || may_be_locked {
            let place = Place { priority: priority.cloned(), name };
            let whereabouts = Whereabouts::Pending(place);
            let task = Listed::new(Arc::clone(folder), whereabouts);
            // Of one that may not be read the kernel's list is all there is.
            let is_held = || task.is_held().or_else(|error| unread(error).map(|()| true));
            if may_be_locked && is_held()? {
                depth.running += 1;
                return Ok(());
            }
            if let Some(adoption) = suspect
                && let Some(seen) = inspect(&task, self.now_ns)?
                && adoption.holds(&task, &seen)?
            {
                depth.held += 1;
                return Ok(());
            }
        }
        if due_ns > self.now_ns {
            depth.delayed += 1;
            depth.next_due_ns = earlier(depth.next_due_ns, Some(due_ns));
        } else {
            depth.due += 1;
            depth.oldest_due_ns = earlier(depth.oldest_due_ns, Some(due_ns));
        }
        Ok(())
    }
}

fn unread(error: io::Error) -> io::Result<()> {
    if is_denied(&error) { Ok(()) } else { Err(error) }
}

fn send_names(
    folder: &Folder,
    sender: SyncSender<Names>,
    each_folder: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut names = Vec::with_capacity(NAMES);
    for entry in folder.list()? {
        let (name, kind) = entry?;
        if is_task_name(&name) {
            if matches!(kind, None | Some(FileKind::File)) {
                names.push(name);
            }
            if names.len() == NAMES {
                let lot = std::mem::replace(&mut names, Vec::with_capacity(NAMES));
                // Nobody to take it: all who looked have failed, and say so themselves.
                if sender.send(lot).is_err() {
                    return Ok(());
                }
            }
        } else if matches!(kind, None | Some(FileKind::Directory)) {
            each_folder(&name);
        }
    }
    let _ = sender.send(names);
    Ok(())
}
