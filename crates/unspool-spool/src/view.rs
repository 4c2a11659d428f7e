//! A spool as it is looked at: its folders, of which nothing is made and nothing changed.

use std::io;
use std::path::{Path, PathBuf};

use unspool_core::Priority;
use unspool_sys::folder::{self, Folder};

use crate::OpenError;
use crate::layout::{CORRUPT, DEAD, INTERNAL, check_readable_version};
use crate::list::{Shelves, list};

/// Folders in which whoever changes something keeps the books of the spool's owner.
const INTERNALS: [&[u8]; 3] = [INTERNAL, DEAD, CORRUPT];

/// A spool's directory, open to read. Also one that only a uWSGI has used, or that belongs to
/// somebody else.
#[derive(Debug)]
pub struct SpoolView {
    path: PathBuf,
    top: Folder,
}

impl SpoolView {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// It is missing or may not be read, or a newer unspool made it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opening = |source| OpenError::Open { path: path.to_owned(), source };
        let path = folder::canonical(path).map_err(opening)?;
        let opening = |source| OpenError::Open { path: path.clone(), source };
        let top = match Folder::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(OpenError::NotADirectory { path });
            }
            other => other.map_err(opening)?,
        };
        let view = Self { path, top };
        let internals = view.path.join(folder::os_str(INTERNAL));
        let opening = |source| OpenError::Open { path: internals, source };
        if let Some(internal) = view.internal().map_err(opening)? {
            check_readable_version(&internal, &view.path)?;
        }
        Ok(view)
    }

    pub(crate) fn new(path: PathBuf, top: Folder) -> Self {
        Self { path, top }
    }

    /// The canonical absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of tasks without a priority.
    pub fn top(&self) -> &Folder {
        &self.top
    }

    /// The internals; `None` where only a uWSGI has been.
    pub fn internal(&self) -> io::Result<Option<Folder>> {
        self.sub(INTERNAL)
    }

    /// Whether it is a spool: unspool has used it, or a task lies in it. Any other directory may have
    /// been named by mistake.
    ///
    /// # Errors
    /// What the system says of the directory itself.
    pub fn is_spool(&self) -> io::Result<bool> {
        if self.internal()?.is_some() {
            return Ok(true);
        }
        let shelves = Shelves { pending: true, dead: false, corrupt: false };
        // A folder that may not be read tells nothing of the others.
        Ok(list(self, shelves).any(|file| file.is_ok()))
    }

    /// The folder of a priority; `None` while there is none.
    pub fn priority_folder(&self, priority: &Priority) -> io::Result<Option<Folder>> {
        self.sub(priority.as_bytes())
    }

    /// The path of a priority's folder, or of the spool itself.
    pub fn folder_path(&self, priority: Option<&Priority>) -> PathBuf {
        match priority {
            None => self.path.clone(),
            Some(priority) => self.path.join(folder::os_str(priority.as_bytes())),
        }
    }

    /// A folder of the spool; `None` if there is none of this name.
    pub(crate) fn sub(&self, name: &[u8]) -> io::Result<Option<Folder>> {
        let folder = sub(&self.top, name)?;
        Ok(if INTERNALS.contains(&name) { folder.map(Folder::giving) } else { folder })
    }
}

/// A folder in another one; `None` if there is none of this name.
pub(crate) fn sub(folder: &Folder, name: &[u8]) -> io::Result<Option<Folder>> {
    match folder.open_sub(name) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
