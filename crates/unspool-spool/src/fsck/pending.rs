//! The checks of pending tasks: the spool itself and the folders of its priorities.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use unspool_core::Priority;
use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{Malformed, TaskFile, TaskId};
use unspool_sys::file::{self, stat_file};
use unspool_sys::folder::{FileKind, Folder, Stat, os_str};
use unspool_sys::lock;

use super::{Check, Fsck, Level};
use crate::garbage::{GARBAGE_AGE_NS, delete_garbage};
use crate::layout::{CORRUPT, DEAD, INTERNAL};
use crate::{Refused, is_aside_name, is_task_name, quarantine, read_all};

/// Folders in folders that are looked through.
const DEPTH_MAX: usize = 8;
/// Tasks whose ids are remembered: one takes about 18 bytes.
const IDS_MAX: usize = 4 << 20;
/// Tasks with the id of another, and files with several names, that are told of.
const REPEATS_MAX: usize = 10_000;
/// A due time further away than this is said.
const FAR_NS: i64 = 10 * 366 * 24 * 3600 * 1_000_000_000;
/// A file whose change lies further ahead than this was changed before the clock was set back.
const SKEW_NS: i64 = 2_000_000_000;
/// A shared folder is made aside within milliseconds.
const ASIDE_DIGITS: usize = 16;

/// Files with several names, by inode: the first name that was met.
#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<u64, PathBuf>);

/// Which ids were met, and which of them twice.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The random bits of each.
    met: HashSet<u64>,
    twice: BTreeSet<u64>,
}

impl Repeats {
    pub(super) fn meet(&mut self, id: TaskId) {
        let bits = id.0 as u64;
        let known = if self.met.len() < IDS_MAX {
            !self.met.insert(bits)
        } else {
            self.met.contains(&bits)
        };
        if known && self.twice.len() < REPEATS_MAX {
            self.twice.insert(bits);
        }
    }
}

/// Where a file lies.
struct Place<'f> {
    folder: &'f Folder,
    path: &'f Path,
    /// 0 for the spool, 1 for a priority's folder, above that no daemon looks.
    depth: usize,
}

impl Fsck<'_> {
    pub(super) fn check_tasks(&mut self) {
        let (top, path) = match self.top.try_clone() {
            Ok(top) => (top, self.path.clone()),
            Err(error) => return self.unreadable(&self.path.clone(), &error),
        };
        self.check_folder(&Place { folder: &top, path: &path, depth: 0 });
    }

    fn check_folder(&mut self, place: &Place<'_>) {
        let listing = match place.folder.list() {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(place.path, &error),
        };
        let mut inner = Vec::new();
        for entry in listing {
            let name = match entry {
                Ok((name, _)) => name,
                Err(error) => return self.unreadable(place.path, &error),
            };
            if place.depth == 0 && [INTERNAL, CORRUPT, DEAD, b"results"].contains(&&*name) {
                continue;
            }
            match place.folder.stat(&name) {
                Ok(Some(stat)) => self.check_entry(place, &name, &stat, &mut inner),
                // It is gone again.
                Ok(None) => {}
                Err(error) => self.unreadable(&place.path.join(os_str(&name)), &error),
            }
        }
        for name in inner {
            self.check_inner(place, &name);
        }
    }

    fn check_inner(&mut self, place: &Place<'_>, name: &[u8]) {
        let path = place.path.join(os_str(name));
        let folder = match place.folder.open_sub(name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(&path, &error),
        };
        match file::stat_file(folder.as_fd()) {
            Ok(stat) => self.check_mode(&path, &stat),
            Err(error) => self.unreadable(&path, &error),
        }
        if place.depth > 0 {
            let then = "no daemon looks there; `unspool adopt --run` moves tasks out of it";
            self.note(Check::Names, &path, "a folder within a priority's folder", then);
        }
        if place.depth < DEPTH_MAX {
            self.check_folder(&Place { folder: &folder, path: &path, depth: place.depth + 1 });
        }
        if place.depth == 0 {
            self.priorities.push((name.to_vec(), folder));
        }
    }

    fn check_entry(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        stat: &Stat,
        inner: &mut Vec<Vec<u8>>,
    ) {
        let path = place.path.join(os_str(name));
        match (stat.kind, is_task_name(name)) {
            (FileKind::File, true) => self.check_task(place, name, &path),
            (_, true) => {
                let what = "no file, and has the name of a task";
                self.note(Check::Names, &path, what, "nobody runs it");
            }
            (FileKind::File, _) if is_aside_name(name) => {
                self.check_unfinished(place, name, &path, stat);
            }
            (FileKind::Directory, _) if Priority::new(name).is_ok() => inner.push(name.to_vec()),
            (FileKind::Directory, _) if is_folder_aside(name) => {
                self.check_folder_aside(place, name, &path, stat);
            }
            (FileKind::Directory, _) => {
                self.note(
                    Check::Names,
                    &path,
                    "a folder that can be no priority",
                    "nobody looks in it",
                );
            }
            _ => self.note(Check::Names, &path, "has not the name of a task", "nobody runs it"),
        }
    }

    fn check_task(&mut self, place: &Place<'_>, name: &[u8], path: &Path) {
        let file = match place.folder.open_to_read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.reporter.summary.tasks += 1;
                return self.unreadable(path, &error);
            }
        };
        let held = lock::is_locked(file.as_fd()).unwrap_or(false);
        let (stat, content) = match read_all(file.as_fd()) {
            // Done meanwhile.
            Ok((stat, _)) if stat.links == 0 => return,
            Ok(read) => read,
            Err(error) => {
                self.reporter.summary.tasks += 1;
                let stat = stat_file(file.as_fd());
                drop(file);
                return match stat {
                    Ok(stat) if error.kind() == io::ErrorKind::FileTooLarge => {
                        let why = Malformed::Long { bytes: stat.bytes }.to_string();
                        self.damaged(place, name, path, Check::Whole, &why, (held, &stat));
                    }
                    _ => self.unreadable(path, &error),
                };
            }
        };
        self.reporter.summary.tasks += 1;
        self.reporter.summary.held += u64::from(held);
        self.reporter.looked();
        self.check_lost(path, &stat, held);
        self.check_names(path, &stat);
        self.check_times(path, &stat);
        // One that is open is not moved.
        drop(file);
        match self.judge(&content, &stat) {
            Ok(task) => self.check_limits(path, &task),
            Err((check, why)) => self.damaged(place, name, path, check, &why, (held, &stat)),
        }
    }

    /// Whether a task would run: in the order in which a worker asks.
    fn judge<'c>(&self, content: &'c [u8], stat: &Stat) -> Result<TaskFile<'c>, (Check, String)> {
        match self.options.trust.admit(content, stat) {
            Ok(_) | Err(Refused::Damaged) => {}
            Err(refused) => return Err((Check::Signature, refused.to_string())),
        }
        TaskFile::parse(content).map_err(|why| (Check::Whole, why.to_string()))
    }

    /// What a worker would refuse: left alone while it may be in the making.
    fn damaged(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        path: &Path,
        check: Check,
        why: &str,
        (held, stat): (bool, &Stat),
    ) {
        let age_ns = self.now_ns.saturating_sub(stat.ctime_ns);
        if held {
            return self.note(check, path, why, "left alone: somebody holds it, who may write it");
        }
        if age_ns < self.options.settle_ns {
            let then = "left alone: it changed a moment ago, and may be in the making";
            return self.note(check, path, why, then);
        }
        let would = "--repair moves it to corrupt/";
        self.repair((check, Level::Problem), path, why, would, |spool| {
            let moved =
                quarantine(spool, place.folder, name, stat).map_err(|error| error.source)?;
            Ok(moved.map(|to| format!("moved to {}", to.display())))
        });
    }

    fn check_lost(&mut self, path: &Path, stat: &Stat, held: bool) {
        let Some(run) = self.lost.runs.get_mut(&(stat.inode, stat.ctime_ns)) else { return };
        run.2 = true;
        let what = format!("it ran in process {} when its daemon died", run.0);
        let then = if held {
            "its worker lives and ends it"
        } else {
            "the next start counts a failed attempt and runs it again"
        };
        self.note(Check::Daemons, path, what, then);
    }

    fn check_names(&mut self, path: &Path, stat: &Stat) {
        if stat.links < 2 {
            return;
        }
        let Some(other) = self.twins.0.get(&stat.inode) else {
            if self.twins.0.len() < REPEATS_MAX {
                self.twins.0.insert(stat.inode, path.to_owned());
            }
            let what = format!("the file has {} names", stat.links);
            return self.note(
                Check::OnePlace,
                path,
                what,
                "it runs once for each name in the spool",
            );
        };
        let what = format!("the same file as {}", other.display());
        self.by_hand(Check::OnePlace, path, what, "remove one of the two names: each would run");
    }

    fn check_times(&mut self, path: &Path, stat: &Stat) {
        if stat.mtime_ns.saturating_sub(self.now_ns) > FAR_NS {
            let never = stat.mtime_ns >= i64::MAX - 1_000_000_000;
            let what = if never {
                "its due time is beyond the year 2262: it never comes".to_owned()
            } else {
                format!(
                    "it is due at {} s since 1970, in ten years or more",
                    stat.mtime_ns / 1_000_000_000
                )
            };
            let then = format!("`touch {}` makes it due now", path.display());
            self.note(Check::Due, path, what, &then);
        }
        if stat.ctime_ns.saturating_sub(self.now_ns) > SKEW_NS {
            let what = "it was changed at a time that is still to come: the clock was set back";
            self.note(Check::Due, path, what, "");
        }
    }

    fn check_limits(&mut self, path: &Path, task: &TaskFile<'_>) {
        if let Some(mark) = task.mark {
            self.repeats.meet(mark.id);
        }
        if task.policy.is_expired(self.now_ns) {
            let then = "a daemon buries it when its turn comes";
            self.note(Check::Limits, path, "it was not started before it expired", then);
        }
        let most = match self.options.retry {
            Some(retry) => retry.with(&task.policy).attempts_max,
            None => task.policy.attempts.unwrap_or(0),
        };
        if most != 0 && task.attempts >= most {
            let what = format!("{} attempts failed, and {most} may", task.attempts);
            self.note(Check::Limits, path, what, "a daemon buries it when its turn comes");
        }
    }

    fn check_unfinished(&mut self, place: &Place<'_>, name: &[u8], path: &Path, stat: &Stat) {
        if self.now_ns.saturating_sub(stat.ctime_ns) <= GARBAGE_AGE_NS {
            // A submission at this moment, or one whose process died today.
            return;
        }
        let what = "a submission that never came to its end, a day ago or more";
        let would = "--repair removes it, as the next scan of a daemon does";
        self.repair((Check::Unfinished, Level::Note), path, what, would, |_| {
            Ok(remove_unused(place.folder, name, stat)?.then(|| "removed".to_owned()))
        });
    }

    fn check_folder_aside(&mut self, place: &Place<'_>, name: &[u8], path: &Path, stat: &Stat) {
        if self.now_ns.saturating_sub(stat.ctime_ns) <= GARBAGE_AGE_NS {
            return;
        }
        let what = "a folder that was never given its name";
        let would = "--repair removes it if it is empty";
        self.repair((Check::Unfinished, Level::Note), path, what, would, |_| {
            place.folder.remove_sub(name)?;
            Ok(Some("removed".to_owned()))
        });
    }

    /// Looks again for the places of ids that were met twice: a task that was moved in between was not
    /// in two places.
    pub(super) fn check_repeats(&mut self) {
        if self.repeats.twice.is_empty() {
            return;
        }
        let mut places: BTreeMap<u128, Vec<(PathBuf, u64, bool)>> = BTreeMap::new();
        let path = self.path.clone();
        let dead = self.top.open_sub(DEAD).ok();
        let named = self.priorities.iter().map(|(name, folder)| (path.join(os_str(name)), folder));
        let folders = std::iter::once((path.clone(), &self.top)).chain(named);
        let all = folders.map(|(path, folder)| (path, folder, true));
        let dead = dead.iter().map(|folder| (path.join(os_str(DEAD)), folder, false));
        for (path, folder, pending) in all.chain(dead) {
            for (name, _) in folder.list().into_iter().flatten().flatten() {
                if is_task_name(&name)
                    && let Some((id, inode)) = id_of(folder, &name)
                    && self.repeats.twice.contains(&(id as u64))
                {
                    places.entry(id).or_default().push((path.join(os_str(&name)), inode, pending));
                }
            }
        }
        for found in places.into_values() {
            self.say_repeats(&found);
        }
    }

    fn say_repeats(&mut self, found: &[(PathBuf, u64, bool)]) {
        let Some((first, inode, _)) = found.iter().find(|(.., pending)| *pending) else { return };
        for (path, other, pending) in found {
            // A file with two names is told of already.
            if path == first || other == inode {
                continue;
            }
            let what = format!("the same task as {}", first.display());
            if *pending {
                let how = "remove one of the two files: each would run";
                self.by_hand(Check::OnePlace, path, what, how);
            } else {
                self.note(Check::OnePlace, path, what, "a copy was put back to run again");
            }
        }
    }
}

/// The id of a task of ours, and the file's inode.
fn id_of(folder: &Folder, name: &[u8]) -> Option<(u128, u64)> {
    let file = folder.open_to_read(name).ok()?;
    let inode = file::stat_file(file.as_fd()).ok()?.inode;
    let mut head = [0u8; PEEK_BYTES];
    let got = file::read_at(file.as_fd(), &mut head, 0).ok()?;
    let mark = unspool_core::taskfile::mark_of(&head[..got])?;
    Some((mark.id.0, inode))
}

/// Whether a name is that of a folder of a shared spool that is being made.
fn is_folder_aside(name: &[u8]) -> bool {
    let Some(at) = name.len().checked_sub(ASIDE_DIGITS + 1) else { return false };
    at > 1
        && name[0] == b'.'
        && name[at] == b'-'
        && name[at + 1..].iter().all(u8::is_ascii_hexdigit)
}

/// Removes the file of a submission, unless somebody may have it open or it has changed.
fn remove_unused(folder: &Folder, name: &[u8], seen: &Stat) -> io::Result<bool> {
    let file: OwnedFd = match folder.open_to_read(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let now = file::stat_file(file.as_fd())?;
    let same = (now.inode, now.ctime_ns) == (seen.inode, seen.ctime_ns);
    if !same || lock::is_open_elsewhere(file.as_fd()) != Some(false) {
        return Ok(false);
    }
    delete_garbage(folder, name)
}
