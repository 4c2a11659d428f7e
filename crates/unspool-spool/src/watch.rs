//! Watch: hints about changes in the folders of a spool, by folder instead of by watch number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use unspool_core::Priority;
use unspool_sys::notify::{Hint, Interest, Watcher};

use crate::adopt::ADOPTED;
use crate::pause::PAUSED;
use crate::{SpoolDir, is_task_name};

/// A change in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A task appeared or was touched.
    Task {
        /// Index of the folder, as given to [`Watch::add`].
        folder: u32,
        /// Its name.
        name: Vec<u8>,
    },
    /// A task's name was created. If the file has other names too it is whole; else it is being
    /// written, and a [`Change::Task`] follows.
    Created {
        /// Index of the folder.
        folder: u32,
        /// Its name.
        name: Vec<u8>,
    },
    /// A task is gone.
    Gone {
        /// Index of the folder.
        folder: u32,
        /// Its name.
        name: Vec<u8>,
    },
    /// A folder of a priority appeared in the top folder.
    Priority(Priority),
    /// A folder of a priority left the top folder, deleted or moved.
    PriorityGone(Priority),
    /// A watched folder is gone.
    FolderGone(u32),
    /// It was decided what becomes of old tasks.
    Adopted,
    /// Something was paused or resumed.
    Paused,
    /// Changes were missed: scan everything.
    Missed,
}

/// The watched folders of a spool.
///
/// The creation of names is watched apart: each submission creates a hidden name, which is of no
/// interest, and a reader that it wakes takes the processor from the submitter just then.
#[derive(Debug)]
pub struct Watch {
    changes: Watcher,
    creations: Watcher,
    folders: Vec<Watched>,
    /// The watch of the folder of internals.
    internal: Option<i32>,
}

/// A folder's numbers.
#[derive(Debug, Clone, Copy)]
struct Watched {
    changes: i32,
    creations: i32,
    index: u32,
}

impl Watch {
    /// Nothing is watched yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            changes: Watcher::new(Interest::Changes)?,
            creations: Watcher::new(Interest::Creations)?,
            folders: Vec::new(),
            internal: None,
        })
    }

    /// Can be read when [`Watch::read`] has something.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Can be read when [`Watch::read_creations`] has something.
    pub fn creations(&self) -> BorrowedFd<'_> {
        self.creations.as_fd()
    }

    /// Watches a folder under an index of the caller's. Scan it after this, not before: what
    /// appears between the two is then seen twice instead of never.
    pub fn add(
        &mut self,
        spool: &SpoolDir,
        priority: Option<&Priority>,
        index: u32,
    ) -> io::Result<()> {
        let path = spool.folder_path(priority);
        let changes = self.changes.add(&path)?;
        let creations = self.creations.add(&path)?;
        self.folders.retain(|folder| folder.changes != changes && folder.index != index);
        self.folders.push(Watched { changes, creations, index });
        Ok(())
    }

    /// Watches for decisions too: about old tasks, and what is paused. Nothing else happens often in that
    /// folder.
    pub fn add_internal(&mut self, spool: &SpoolDir) -> io::Result<()> {
        self.internal = Some(self.changes.add(&spool.internal_path())?);
        Ok(())
    }

    /// Reads changes, at most a buffer of them, without waiting: all but [`Change::Created`] and
    /// the [`Change::Priority`] of a folder that was just made.
    pub fn read(&mut self, mut each: impl FnMut(Change)) -> io::Result<()> {
        let (folders, internal) = (&mut self.folders, self.internal);
        self.changes.read(|hint| {
            if let Hint::Look { watch, name, .. } | Hint::Gone { watch, name, .. } = &hint
                && Some(*watch) == internal
            {
                match (name.as_slice(), &hint) {
                    (ADOPTED, Hint::Look { .. }) => each(Change::Adopted),
                    (PAUSED, _) => each(Change::Paused),
                    _ => {}
                }
                return;
            }
            let index =
                |watch: i32| folders.iter().find(|f| f.changes == watch).map(|folder| folder.index);
            let gone = match &hint {
                Hint::FolderGone { watch } => Some(*watch),
                _ => None,
            };
            if let Some(change) = change(hint, index) {
                each(change);
            }
            folders.retain(|folder| Some(folder.changes) != gone);
        })
    }

    /// Reads what was created since the last time, at most a buffer of it, without waiting: tasks
    /// and folders of priorities. Returns whether anything at all was created.
    pub fn read_creations(&mut self, mut each: impl FnMut(Change)) -> io::Result<bool> {
        let folders = &self.folders;
        let index =
            |watch: i32| folders.iter().find(|f| f.creations == watch).map(|folder| folder.index);
        let mut any = false;
        self.creations.read(|hint| {
            // That a folder is gone is the other watcher's news.
            if !matches!(hint, Hint::FolderGone { .. }) {
                any = true;
                if let Some(change) = change(hint, index) {
                    each(change);
                }
            }
        })?;
        Ok(any)
    }
}

/// What a hint means here; `index` finds the folder of a watch.
fn change(hint: Hint, index: impl Fn(i32) -> Option<u32>) -> Option<Change> {
    let priority =
        |folder: u32, name: &[u8]| (folder == 0).then(|| Priority::new(name).ok()).flatten();
    match hint {
        Hint::Look { watch, name, directory: true } => {
            priority(index(watch)?, &name).map(Change::Priority)
        }
        Hint::Gone { watch, name, directory: true } => {
            priority(index(watch)?, &name).map(Change::PriorityGone)
        }
        Hint::Look { name, .. } | Hint::Created { name, .. } | Hint::Gone { name, .. }
            if !is_task_name(&name) =>
        {
            None
        }
        Hint::Look { watch, name, .. } => Some(Change::Task { folder: index(watch)?, name }),
        Hint::Created { watch, name } => Some(Change::Created { folder: index(watch)?, name }),
        Hint::Gone { watch, name, .. } => Some(Change::Gone { folder: index(watch)?, name }),
        Hint::FolderGone { watch } => index(watch).map(Change::FolderGone),
        // Of the other folders, the top one tells.
        Hint::FolderMoved { watch } => (index(watch) == Some(0)).then_some(Change::FolderGone(0)),
        Hint::Overflow => Some(Change::Missed),
    }
}
