//! What is held in a spool: looked up from its files, for the command and for the daemon's words.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use unspool_core::Priority;
use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{KEY_FUNCTION, TaskFile, peek};
use unspool_sys::file;
use unspool_sys::folder::Folder;

use super::{Adoption, Verdict};
use crate::{Found, Scan, SpoolView, submitted_at_ns};

/// Entries looked at in one step of a scan.
const STEP_ENTRIES: usize = 1000;
/// Folders in folders that are followed, and groups that are told apart.
const DEPTH_MAX: usize = 8;
const GROUPS_MAX: usize = 4096;

/// What the content of a file tells about who wrote it and what it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// unspool wrote it, so it is meant to run.
    pub ours: bool,
    /// Its function; empty where it names none, or is no whole task.
    pub function: Vec<u8>,
}

/// Looks into a file that the old configuration would not have run.
pub fn look(folder: &Folder, name: &[u8]) -> io::Result<Look> {
    let file = folder.open_to_read(name)?;
    let mut head = vec![0u8; PEEK_BYTES];
    let got = file::read_at(file.as_fd(), &mut head, 0)?;
    let Some(seen) = peek(&head[..got]) else {
        return Ok(Look { ours: false, function: Vec::new() });
    };
    let mut function = seen.function.unwrap_or_default().to_vec();
    let (ours, announced) = (seen.exact, seen.announced as usize);
    if function.is_empty() && !ours && announced > got {
        // A foreign file's pairs have 64 KiB at most.
        head.resize(announced, 0);
        let whole = file::read_at(file.as_fd(), &mut head, 0)?;
        if let Ok(task) = TaskFile::parse(&head[..whole]) {
            let pair = task.fields().find(|(key, _)| *key == KEY_FUNCTION);
            function = pair.map(|(_, value)| value.to_vec()).unwrap_or_default();
        }
    }
    Ok(Look { ours, function })
}

/// A held task, as [`walk`] finds it.
#[derive(Debug)]
pub struct HeldTask<'a> {
    /// The open folder that it lies in.
    pub folder: &'a Folder,
    /// The folder by which it is selected: empty for the spool, else the priority's name.
    pub top: &'a [u8],
    /// Where it lies, relative to the spool.
    pub place: &'a [u8],
    /// It lies deeper than in a priority's folder, where no daemon of ours looks.
    pub nested: bool,
    /// Its name.
    pub name: &'a [u8],
    /// Its function.
    pub function: &'a [u8],
    /// When it is or was due.
    pub due_ns: i64,
    /// What is decided about it.
    pub verdict: Verdict,
}

/// Tasks of one place and function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub tasks: u64,
    /// The due time of the oldest.
    pub oldest_ns: i64,
    /// The due time of the youngest.
    pub newest_ns: i64,
    /// What is decided about them.
    pub verdict: Verdict,
    /// In a folder within a priority's folder.
    pub nested: bool,
}

/// All that is held, by place and function. What exceeds the bound of groups is counted alone.
#[derive(Debug, Default)]
pub struct Survey {
    /// The groups.
    pub groups: BTreeMap<(Vec<u8>, Vec<u8>), Group>,
    /// Tasks in further groups.
    pub others: u64,
}

impl Survey {
    /// Takes in a task.
    pub fn add(&mut self, place: &[u8], function: &[u8], task: Group) {
        let key = (place.to_vec(), function.to_vec());
        if !self.groups.contains_key(&key) && self.groups.len() >= GROUPS_MAX {
            self.others += task.tasks;
            return;
        }
        self.groups
            .entry(key)
            .and_modify(|group| {
                group.tasks += task.tasks;
                group.oldest_ns = group.oldest_ns.min(task.oldest_ns);
                group.newest_ns = group.newest_ns.max(task.newest_ns);
            })
            .or_insert(task);
    }

    /// How many tasks are held.
    pub fn tasks(&self) -> u64 {
        self.others + self.groups.values().map(|group| group.tasks).sum::<u64>()
    }
}

/// Counts what a spool holds.
pub fn survey(spool: &SpoolView, adoption: &Adoption) -> io::Result<Survey> {
    let mut survey = Survey::default();
    walk(spool, adoption, |task| {
        let group = Group {
            tasks: 1,
            oldest_ns: task.due_ns,
            newest_ns: task.due_ns,
            verdict: task.verdict,
            nested: task.nested,
        };
        survey.add(task.place, task.function, group);
        Ok(())
    })?;
    Ok(survey)
}

/// Calls `each` for every held task.
pub fn walk(
    spool: &SpoolView,
    adoption: &Adoption,
    mut each: impl FnMut(&HeldTask<'_>) -> io::Result<()>,
) -> io::Result<()> {
    walk_folder(spool.top(), &Place { depth: 0, path: Vec::new() }, adoption, &mut each)
}

struct Place {
    /// 0 for the spool, 1 for a priority's folder, above that nested.
    depth: usize,
    path: Vec<u8>,
}

impl Place {
    fn top(&self) -> &[u8] {
        self.path.split(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

fn walk_folder(
    folder: &Folder,
    place: &Place,
    adoption: &Adoption,
    each: &mut dyn FnMut(&HeldTask<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut scan = Scan::start(folder)?;
    let mut inner = Vec::new();
    let mut more = true;
    while more {
        let mut found = Vec::with_capacity(STEP_ENTRIES);
        more = scan.step(folder, STEP_ENTRIES, |thing| found.push(thing))?;
        for thing in found {
            match thing {
                Found::Task { name, stat } => {
                    let submitted = submitted_at_ns(folder, &name, &stat);
                    judge(folder, place, adoption, &name, submitted, stat.mtime_ns, each)?;
                }
                Found::Priority(name) => inner.push(name),
                Found::Aside { .. } | Found::Unknown { .. } => {}
            }
        }
    }
    if place.depth == DEPTH_MAX {
        return Ok(());
    }
    for name in inner {
        // Removed since, or not ours to enter.
        let Ok(sub) = folder.open_sub(name.as_bytes()) else { continue };
        let mut path = place.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let place = Place { depth: place.depth + 1, path };
        walk_folder(&sub, &place, adoption, each)?;
    }
    Ok(())
}

fn judge(
    folder: &Folder,
    place: &Place,
    adoption: &Adoption,
    name: &[u8],
    submitted_ns: i64,
    due_ns: i64,
    each: &mut dyn FnMut(&HeldTask<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let nested = place.depth > 1;
    let priority = Priority::new(place.top()).ok();
    if !nested && !adoption.suspects(priority.as_ref(), submitted_ns, due_ns) {
        return Ok(());
    }
    let seen = match look(folder, name) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whose it is cannot be told: it is held.
        Err(_) => Look { ours: false, function: Vec::new() },
    };
    let verdict = adoption.verdict(place.top(), &seen.function);
    if !nested && (seen.ours || verdict == Verdict::Run) {
        return Ok(());
    }
    each(&HeldTask {
        folder,
        top: place.top(),
        place: &place.path,
        nested,
        name,
        function: &seen.function,
        due_ns,
        // No daemon of ours looks there, whatever was decided.
        verdict: if nested && verdict == Verdict::Run { Verdict::Undecided } else { verdict },
    })
}

/// Tasks in a folder within a priority's folder, where no daemon of ours looks.
pub fn count_nested(folder: &Folder, name: &Priority) -> u64 {
    let Ok(listing) = folder.open_sub(name.as_bytes()).and_then(|sub| sub.list()) else {
        return 0;
    };
    listing.flatten().filter(|(name, _)| crate::is_task_name(name)).count() as u64
}
