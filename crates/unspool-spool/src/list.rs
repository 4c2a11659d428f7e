//! List: the tasks of a spool, one after another, however many there are.
//!
//! No more is held than the kernel's buffer of one folder and the names of the priorities. Nothing is
//! looked at before it is asked for: a name costs far less than a look, and that less than an open
//! file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use unspool_core::Priority;
use unspool_sys::folder::{FileKind, Folder, Listing, Stat};
use unspool_sys::lock;

use crate::find::{Kept, Place, Whereabouts};
use crate::read::read_all;
use crate::{SpoolView, is_task_name};

/// Which folders are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelves {
    /// The spool itself and its priorities.
    pub pending: bool,
    /// `dead/`.
    pub dead: bool,
    /// `corrupt/`.
    pub corrupt: bool,
}

impl Shelves {
    /// Every folder.
    pub const ALL: Self = Self { pending: true, dead: true, corrupt: true };
    /// Tasks that wait or run.
    pub const PENDING: Self = Self { pending: true, dead: false, corrupt: false };
}

/// A file with a task's name.
#[derive(Debug)]
pub struct Listed {
    folder: Arc<Folder>,
    whereabouts: Whereabouts,
}

impl Listed {
    pub(crate) fn new(folder: Arc<Folder>, whereabouts: Whereabouts) -> Self {
        Self { folder, whereabouts }
    }

    /// Where it lies.
    pub fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// The same, kept.
    pub fn into_whereabouts(self) -> Whereabouts {
        self.whereabouts
    }

    /// The folder in which it lies.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The name of its file.
    pub fn name(&self) -> &[u8] {
        self.whereabouts.name()
    }

    /// How its file is; `None` if it is gone.
    pub fn stat(&self) -> io::Result<Option<Stat>> {
        self.folder.stat(self.name())
    }

    /// Its file, open to read; `None` if it is gone.
    ///
    /// # Errors
    /// It may not be read, too.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        match self.folder.open_to_read(self.name()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How its file is, and its bytes; `None` if it is gone.
    pub fn read(&self) -> io::Result<Option<(Stat, Vec<u8>)>> {
        self.open()?.map(|file| read_all(file.as_fd())).transpose()
    }

    /// Whether somebody has claimed it.
    pub fn is_held(&self) -> io::Result<bool> {
        self.open()?.map_or(Ok(false), |file| lock::is_locked(file.as_fd()))
    }
}

/// The file that lies there; whether it does is not looked at. `None` if its folder is gone.
pub fn listed(spool: &SpoolView, whereabouts: &Whereabouts) -> io::Result<Option<Listed>> {
    let folder = match whereabouts {
        Whereabouts::Pending(Place { priority: None, .. }) => Some(spool.top().try_clone()?),
        Whereabouts::Pending(Place { priority: Some(priority), .. }) => {
            spool.priority_folder(priority)?
        }
        Whereabouts::Kept(kept, _) => spool.sub(kept.folder())?,
    };
    let whereabouts = whereabouts.clone();
    Ok(folder.map(|folder| Listed { folder: Arc::new(folder), whereabouts }))
}

/// A walk through the tasks of a spool.
#[derive(Debug)]
pub struct List<'v> {
    spool: &'v SpoolView,
    shelves: Shelves,
    /// Folders to come, the next one last.
    waiting: Vec<Shelf>,
    current: Option<(Shelf, Arc<Folder>, Listing)>,
}

#[derive(Debug, Clone)]
enum Shelf {
    Top,
    Priority(Priority),
    Kept(Kept),
}

/// The tasks of a spool, in the order of its file system: those without a priority, those with one, then
/// those that were given up. A folder that cannot be read is an error among them.
pub fn list(spool: &SpoolView, shelves: Shelves) -> List<'_> {
    let kept = [(shelves.corrupt, Kept::Corrupt), (shelves.dead, Kept::Dead)];
    let mut waiting: Vec<Shelf> =
        kept.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kept)| Shelf::Kept(kept)).collect();
    if shelves.pending {
        waiting.push(Shelf::Top);
    }
    List { spool, shelves, waiting, current: None }
}

impl List<'_> {
    fn open(&self, part: &Shelf) -> io::Result<Option<(Arc<Folder>, Listing)>> {
        let folder = match part {
            Shelf::Top => Some(self.spool.top().try_clone()?),
            Shelf::Priority(priority) => self.spool.priority_folder(priority)?,
            Shelf::Kept(kept) => self.spool.sub(kept.folder())?,
        };
        let Some(folder) = folder else { return Ok(None) };
        let listing = folder.list()?;
        Ok(Some((Arc::new(folder), listing)))
    }

    fn step(&mut self) -> io::Result<Option<Listed>> {
        loop {
            let Some((part, folder, listing)) = &mut self.current else {
                let Some(part) = self.waiting.pop() else { return Ok(None) };
                self.current = self.open(&part)?.map(|(folder, list)| (part, folder, list));
                continue;
            };
            let Some(entry) = listing.next() else {
                self.current = None;
                continue;
            };
            let (name, kind) = entry?;
            if is_task_name(&name) && matches!(kind, None | Some(FileKind::File)) {
                let whereabouts = match part {
                    Shelf::Top => Whereabouts::Pending(Place { priority: None, name }),
                    Shelf::Priority(priority) => {
                        Whereabouts::Pending(Place { priority: Some(priority.clone()), name })
                    }
                    Shelf::Kept(kept) => Whereabouts::Kept(*kept, name),
                };
                return Ok(Some(Listed { folder: Arc::clone(folder), whereabouts }));
            }
            let may_be_folder = matches!(kind, None | Some(FileKind::Directory));
            if self.shelves.pending
                && matches!(part, Shelf::Top)
                && may_be_folder
                && let Ok(priority) = Priority::new(&name)
            {
                self.waiting.push(Shelf::Priority(priority));
            }
        }
    }
}

impl Iterator for List<'_> {
    type Item = io::Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.step();
        if result.is_err() {
            // What comes after the failure of a folder is in other folders.
            self.current = None;
        }
        result.transpose()
    }
}
