//! Watch: hints about changes in the folders of a spool, by folder instead of by watch number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use unspool_core::Priority;
use unspool_sys::notify::{Hint, Watcher};

use crate::adopt::ADOPTED;
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
    /// Changes were missed: scan everything.
    Missed,
}

/// The watched folders of a spool.
#[derive(Debug)]
pub struct Watch {
    watcher: Watcher,
    folders: Vec<(i32, u32)>,
    internal: Option<i32>,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watcher.as_fd()
    }
}

impl Watch {
    /// Nothing is watched yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { watcher: Watcher::new()?, folders: Vec::new(), internal: None })
    }

    /// Watches a folder under an index of the caller's. Scan it after this, not before: what
    /// appears between the two is then seen twice instead of never.
    pub fn add(
        &mut self,
        spool: &SpoolDir,
        priority: Option<&Priority>,
        index: u32,
    ) -> io::Result<()> {
        let watch = self.watcher.add(&spool.folder_path(priority))?;
        self.folders.retain(|(w, i)| *w != watch && *i != index);
        self.folders.push((watch, index));
        Ok(())
    }

    /// Watches for decisions about old tasks too. Nothing else happens often in that folder.
    pub fn add_internal(&mut self, spool: &SpoolDir) -> io::Result<()> {
        self.internal = Some(self.watcher.add(&spool.internal_path())?);
        Ok(())
    }

    /// Reads changes, at most a buffer of them, without waiting.
    pub fn read(&mut self, mut each: impl FnMut(Change)) -> io::Result<()> {
        let (folders, internal) = (&mut self.folders, self.internal);
        let index = |folders: &Vec<(i32, u32)>, watch: i32| {
            folders.iter().find(|(w, _)| *w == watch).map(|(_, index)| *index)
        };
        self.watcher.read(|hint| match hint {
            Hint::Look { watch, name, .. } if Some(watch) == internal => {
                if name == ADOPTED {
                    each(Change::Adopted);
                }
            }
            Hint::Look { watch, name, directory } => {
                let Some(folder) = index(folders, watch) else { return };
                if is_task_name(&name) && !directory {
                    each(Change::Task { folder, name });
                } else if directory
                    && folder == 0
                    && let Ok(priority) = Priority::new(&name)
                {
                    each(Change::Priority(priority));
                }
            }
            Hint::Created { watch, name } => {
                if let Some(folder) = index(folders, watch)
                    && is_task_name(&name)
                {
                    each(Change::Created { folder, name });
                }
            }
            Hint::Gone { watch, name, directory } => {
                let Some(folder) = index(folders, watch) else { return };
                if !directory && is_task_name(&name) {
                    each(Change::Gone { folder, name });
                } else if directory
                    && folder == 0
                    && let Ok(priority) = Priority::new(&name)
                {
                    each(Change::PriorityGone(priority));
                }
            }
            Hint::FolderGone { watch } => {
                if let Some(folder) = index(folders, watch) {
                    folders.retain(|(w, _)| *w != watch);
                    each(Change::FolderGone(folder));
                }
            }
            // Of the other folders, the top one tells.
            Hint::FolderMoved { watch } => {
                if index(folders, watch) == Some(0) {
                    each(Change::FolderGone(0));
                }
            }
            Hint::Overflow => each(Change::Missed),
        })
    }
}
