//! What lies in an outbox: the tasks that wait, in the order in which they go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use tracing::{info, warn};
use unspool_core::Priority;
use unspool_spool::{
    Change, Found, GARBAGE_AGE_NS, Pauses, Scan, SpoolDir, Watch, delete_garbage, read_pauses,
    submitted_at_ns,
};
use unspool_sys::{Folder, clock};

use super::moment::Moment;

/// Tasks that are kept in memory, the first ones; the others are looked for again.
const KNOWN_MAX: usize = 20_000;
/// Tasks that are known to be paused; of more each look asks again.
const PAUSED_MAX: usize = 200_000;
/// Folders of priorities.
const FOLDERS_MAX: usize = 1024;
/// Entries of a folder that are looked at in one go.
const STEP: usize = 1024;
/// How often everything is looked at, whatever was heard.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// When a task that could not be sent is looked at again, if nothing is heard of it.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A task, in the order in which tasks go: by priority, those without one last, then by age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    has_no_priority: bool,
    pub(super) priority: Option<Priority>,
    submitted_ns: i64,
    pub(super) name: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Outbox<'a> {
    spool: &'a SpoolDir,
    pub(super) watch: Watch,
    /// The folders that are watched; the index in the watch is the place here.
    folders: Vec<Option<Priority>>,
    waiting: BTreeSet<Waiting>,
    /// Of what was put aside: when it is looked at again.
    later: BTreeMap<Waiting, Moment>,
    /// What is paused, until that changes.
    paused: BTreeSet<Waiting>,
    /// There are more than are known.
    has_more: bool,
    looked_at: Moment,
    look_every: Duration,
    look_at: Moment,
    /// What is paused; `None`: that cannot be told, so everything is.
    pauses: Option<Pauses>,
}

impl<'a> Outbox<'a> {
    /// `frequency` says how often it is looked at where the system may not tell of changes.
    pub(super) fn open(spool: &'a SpoolDir, frequency: Duration) -> io::Result<Self> {
        let network = spool.network();
        if let Some(network) = network {
            info!(
                outbox = %spool.path().display(), file_system = network.name,
                "the outbox is on a file system of several machines, which says nothing of what others do: \
                 looking at it at `spooler-frequency`"
            );
        }
        let look_every = network.map_or(LOOK_EVERY, |_| frequency.min(LOOK_EVERY));
        let mut watch = Watch::new()?;
        watch.add(spool, None, 0)?;
        watch.add_internal(spool)?;
        let mut made = Self {
            spool,
            watch,
            folders: vec![None],
            waiting: BTreeSet::new(),
            later: BTreeMap::new(),
            paused: BTreeSet::new(),
            has_more: false,
            looked_at: Moment::now(),
            look_every,
            look_at: Moment::now(),
            pauses: None,
        };
        made.read_pauses();
        made.look()?;
        Ok(made)
    }

    /// Learns what was heard.
    pub(super) fn hear(&mut self) -> io::Result<()> {
        let mut heard = Vec::new();
        self.watch.read(|change| heard.push(change))?;
        self.watch.read_creations(|change| heard.push(change))?;
        for change in heard {
            match change {
                Change::Task { folder, name } | Change::Created { folder, name } => {
                    self.add(folder as usize, name);
                }
                Change::Priority(priority) => {
                    let is_new = !self.folders.contains(&Some(priority.clone()));
                    if is_new && self.folders.len() < FOLDERS_MAX {
                        self.add_folder(priority)?;
                    }
                }
                Change::Paused => self.read_pauses(),
                Change::Missed => self.look_at = Moment::now(),
                Change::PriorityGone(_) | Change::FolderGone(_) => {
                    if !self.spool.is_in_place() {
                        let text = "its directory was moved or deleted";
                        return Err(io::Error::new(io::ErrorKind::NotFound, text));
                    }
                    self.folders.truncate(1);
                    self.look_at = Moment::now();
                }
                Change::Gone { .. } | Change::Adopted => {}
            }
        }
        Ok(())
    }

    fn read_pauses(&mut self) {
        self.pauses = read_pauses(self.spool.view()).inspect_err(|error| warn!("{error}")).ok();
        self.waiting.append(&mut self.paused);
    }

    /// Brings what may go by now, once before a number of tasks is taken: each is tried once in that.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let now = Moment::now();
        let due: Vec<Waiting> =
            self.later.iter().filter(|(_, at)| **at <= now).map(|(task, _)| task.clone()).collect();
        for task in due {
            self.later.remove(&task);
            self.waiting.insert(task);
        }
        // A look is not cheap, and what it finds may all be paused.
        let is_short = self.has_more && self.waiting.is_empty();
        if self.look_at <= now || (is_short && self.looked_at.elapsed() >= AGAIN_AFTER) {
            self.look()?;
        }
        Ok(())
    }

    /// The next task that may go.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        loop {
            let next = self.waiting.pop_first()?;
            let pauses = self.pauses.as_ref();
            if pauses.is_some_and(|it| it.of_task(next.priority.as_ref(), None).next().is_none()) {
                return Some(next);
            }
            self.pause(next);
        }
    }

    /// Puts a task aside until what is paused changes.
    pub(super) fn pause(&mut self, task: Waiting) {
        if self.paused.len() < PAUSED_MAX {
            self.paused.insert(task);
        } else {
            self.has_more = true;
        }
    }

    /// Whether a function's tasks are paused.
    pub(super) fn is_paused(&self, function: Option<&[u8]>) -> bool {
        let paused = |name| self.pauses.as_ref().is_none_or(|p| p.function(name).is_some());
        function.is_some_and(paused)
    }

    /// Puts a task back that was not sent.
    pub(super) fn put_back(&mut self, task: Waiting) {
        self.waiting.insert(task);
    }

    /// Puts a task aside that cannot be sent at this moment.
    pub(super) fn put_off(&mut self, task: Waiting) {
        self.put_off_for(task, AGAIN_AFTER);
    }

    /// The same for so long.
    pub(super) fn put_off_for(&mut self, task: Waiting, wait: Duration) {
        self.later.insert(task, Moment::now() + wait);
    }

    /// When something is to be looked at that nobody tells of.
    pub(super) fn wakes_at(&self) -> Moment {
        let mut at = self.later.values().min().copied().unwrap_or(self.look_at).min(self.look_at);
        if self.has_more && self.waiting.is_empty() {
            at = at.min(self.looked_at + AGAIN_AFTER);
        }
        at
    }

    pub(super) fn folder(&self, priority: Option<&Priority>) -> io::Result<Option<Folder>> {
        match priority {
            None => self.spool.top().try_clone().map(Some),
            Some(priority) => self.spool.priority_folder(priority),
        }
    }

    fn add_folder(&mut self, priority: Priority) -> io::Result<()> {
        let place = self.folders.len();
        match self.watch.add(self.spool, Some(&priority), place as u32) {
            // It is gone again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.folders.push(Some(priority));
        self.look_in(place).map(drop)
    }

    fn add(&mut self, place: usize, name: Vec<u8>) {
        let Some(priority) = self.folders.get(place).cloned() else { return };
        let Ok(Some(folder)) = self.folder(priority.as_ref()) else { return };
        if let Ok(Some(stat)) = folder.stat(&name) {
            let submitted_ns = submitted_at_ns(&folder, &name, &stat);
            self.insert(priority, name, submitted_ns);
        }
    }

    fn insert(&mut self, priority: Option<Priority>, name: Vec<u8>, submitted_ns: i64) {
        let task = Waiting { has_no_priority: priority.is_none(), priority, submitted_ns, name };
        // Of those that were put aside our own look at them raises hints, too.
        if self.later.contains_key(&task) || self.paused.contains(&task) {
            return;
        }
        self.waiting.insert(task);
        if self.waiting.len() > KNOWN_MAX {
            self.waiting.pop_last();
            self.has_more = true;
        }
    }

    /// Looks at everything.
    fn look(&mut self) -> io::Result<()> {
        self.has_more = false;
        self.looked_at = Moment::now();
        self.look_at = Moment::now() + self.look_every;
        let priorities = self.look_in(0)?;
        let new = priorities.into_iter().filter(|it| !self.folders.contains(&Some(it.clone())));
        let new: Vec<Priority> = new.take(FOLDERS_MAX).collect();
        for place in 1..self.folders.len() {
            self.look_in(place)?;
        }
        new.into_iter().try_for_each(|priority| self.add_folder(priority))
    }

    /// Looks at a folder; returns the folders of priorities in it.
    fn look_in(&mut self, place: usize) -> io::Result<Vec<Priority>> {
        let mut priorities = Vec::new();
        let Some(priority) = self.folders.get(place).cloned() else { return Ok(priorities) };
        let Some(folder) = self.folder(priority.as_ref())? else { return Ok(priorities) };
        let mut scan = Scan::start(&folder)?;
        let oldest_ns = clock::now_ns() - GARBAGE_AGE_NS;
        let mut found = Vec::new();
        loop {
            let more = scan.step(&folder, STEP, |entry| found.push(entry))?;
            for entry in found.drain(..) {
                match entry {
                    Found::Task { name, stat } => {
                        let submitted_ns = submitted_at_ns(&folder, &name, &stat);
                        self.insert(priority.clone(), name, submitted_ns);
                    }
                    Found::Priority(priority) => priorities.push(priority),
                    Found::Aside { name, stat } if stat.ctime_ns < oldest_ns => {
                        delete_garbage(&folder, &name)?;
                    }
                    Found::Aside { .. } | Found::Unknown { .. } => {}
                }
            }
            if !more {
                return Ok(priorities);
            }
        }
    }
}
