//! Read: a task's content, without running it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use unspool_core::Message;
use unspool_core::limits::TASK_BYTES_MAX;
use unspool_core::taskfile::{Malformed, TaskFile};
use unspool_sys::file;
use unspool_sys::folder::{self, FileKind, Folder, Stat};

use crate::{SpoolDir, is_task_name};

/// A file that cannot be read as a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no task.
    #[error("`{path}` is not a task file")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Malformed,
    },
}

/// Reads a whole open file; also what the system says of it. What is longer than any task, or no
/// regular file, is an error.
pub fn read_all(file: BorrowedFd<'_>) -> io::Result<(Stat, Vec<u8>)> {
    let stat = file::stat_file(file)?;
    if stat.kind != FileKind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if stat.bytes > TASK_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any task"));
    }
    let mut content = vec![0u8; stat.bytes as usize];
    let got = file::read_at(file, &mut content, 0)?;
    content.truncate(got);
    Ok((stat, content))
}

/// Reads and parses a task file; `None` if there is no such file.
pub fn read_task(path: &Path) -> Result<Option<Message>, ReadError> {
    use std::os::unix::ffi::OsStrExt;
    let io_error = |source| ReadError::Io { path: path.to_owned(), source };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let folder = match Folder::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error)?,
    };
    let file = match folder.open_to_read(name.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error)?,
    };
    let (_, content) = read_all(file.as_fd()).map_err(io_error)?;
    let task = TaskFile::parse(&content)
        .map_err(|source| ReadError::Malformed { path: path.to_owned(), source })?;
    Ok(Some(task.to_message()))
}

/// The paths of the tasks without a priority, at most `max`, in the file system's order.
pub fn list_jobs(spool: &SpoolDir, max: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in spool.top().list()? {
        let (name, kind) = entry?;
        if is_task_name(&name) && matches!(kind, None | Some(FileKind::File)) {
            found.push(spool.path().join(folder::os_str(&name)));
            if found.len() == max {
                break;
            }
        }
    }
    Ok(found)
}
