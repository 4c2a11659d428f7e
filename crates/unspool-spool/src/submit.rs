//! Submit: write the whole file, make it durable as asked, publish it in one step.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use unspool_core::due::{self, InvalidAt};
use unspool_core::taskfile::{InvalidMessage, KEY_AT, KEY_PRIORITY, TaskId, encode};
use unspool_core::{Durability, InvalidPriority, Message, Priority};
use unspool_sys::file::{set_mtime, sync_file, write_all};
use unspool_sys::folder::{Folder, os_str};
use unspool_sys::host;

use crate::SpoolDir;
use crate::admit::{AdmitError, SpoolFull};
use crate::layout::stamp;

/// A task that was not submitted, or (`Unknown`) perhaps was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The key `at` is no time.
    #[error(transparent)]
    At(#[from] InvalidAt),
    /// The key `priority` is no folder of the spool.
    #[error(transparent)]
    Priority(#[from] InvalidPriority),
    /// No file can hold the message.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// Nothing was published.
    #[error("task not submitted: cannot {action} in spool `{spool}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The spool.
        spool: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The spool takes no more for now: nothing was published.
    #[error(transparent)]
    Full(Box<SpoolFull>),
    /// The task is there, and may be gone after a power cut.
    #[error(
        "task `{path}` is submitted, but may not survive a power cut: its folder did not flush"
    )]
    Unknown {
        /// The task.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a task into a spool and returns its absolute path. Deleting that file cancels the task.
///
/// The keys `at` (seconds since 1970) and `priority` (a folder) are obeyed and stay in the task, as
/// in uWSGI; the key `spooler` is the caller's business.
///
/// # Durability
/// With `File` and `Group` the task survives a power cut once this returns; with `None` it
/// survives the death of this process. In no case can a reader see part of it, only an empty file
/// (a small task without durability and without `at`) or none.
///
/// # Errors
/// [`SubmitError::Unknown`] means that the task will run unless the machine fails first; any other
/// error that nothing was submitted.
pub fn submit(
    spool: &SpoolDir,
    message: &Message,
    durability: Durability,
) -> Result<PathBuf, SubmitError> {
    submit_measured(spool, message, durability).map(|submitted| submitted.path)
}

/// A task that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The absolute path of its file, which may be gone already.
    pub path: PathBuf,
    /// Its id.
    pub id: TaskId,
    /// The length of that file.
    pub bytes: u64,
}

/// Like [`submit`], and tells how much was written.
///
/// # Errors
/// As for [`submit`].
pub fn submit_measured(
    spool: &SpoolDir,
    message: &Message,
    durability: Durability,
) -> Result<Submitted, SubmitError> {
    let due_ns = message.get(KEY_AT).map(due::parse_at).transpose()?.flatten();
    let priority = match message.get(KEY_PRIORITY) {
        None | Some(b"") => None,
        Some(name) => Some(Priority::new(name)?),
    };
    let fail =
        |action| move |source| SubmitError::Io { action, spool: spool.path().to_owned(), source };

    let now_ns = stamp();
    let random: [u8; 10] = host::random().map_err(fail("get random bytes"))?;
    let id = TaskId::new((now_ns / 1_000_000) as u64, random);
    let key = spool.keys.as_ref().map(|keys| keys.first());
    let file = encode(message, id, key)?;
    let name = spool.next_name(now_ns, id.0 as u32);

    let place = spool.admit(file.len() as u64).map_err(|error| match error {
        AdmitError::Full(full) => SubmitError::Full(full),
        AdmitError::Io(action, error) => fail(action)(error),
    })?;
    let whole = Whole { name: &name, content: &file, due_ns };
    let published = publish(spool, priority.as_ref(), &whole, durability);
    let target = published.map_err(|(action, error)| {
        if let Some(place) = place {
            spool.give_place_back(place);
        }
        fail(action)(error)
    })?;
    let mut path = spool.folder_path(priority.as_ref());
    path.push(os_str(&name));
    let flushed = match durability {
        Durability::None => Ok(()),
        // Submitters that wait at the same time share flushes: the journal merges them, and does
        // so better than a queue of ours in front of it did.
        Durability::File | Durability::Group => target.as_ref().unwrap_or(spool.top()).sync(),
    };
    match flushed {
        Ok(()) => Ok(Submitted { path, id, bytes: file.len() as u64 }),
        Err(source) => Err(SubmitError::Unknown { path, source }),
    }
}

/// What a step of a submission that failed tried, and what the system said.
type Failed = (&'static str, io::Error);

/// Gives a task its place in the spool; returns the folder of its priority.
fn publish(
    spool: &SpoolDir,
    priority: Option<&Priority>,
    whole: &Whole<'_>,
    durability: Durability,
) -> Result<Option<Folder>, Failed> {
    let sub = priority
        .map(|priority| priority_folder(spool, priority, durability))
        .transpose()
        .map_err(|error| ("make the priority's folder", error))?;
    let folder = sub.as_ref().unwrap_or(spool.top());
    let small = whole.content.len() <= ONE_WRITE_BYTES_MAX;
    if durability == Durability::None && whole.due_ns.is_none() && small {
        whole.write_in_place(folder).map_err(|error| ("write a file", error))?;
    } else {
        whole.write_aside_and_rename(folder, durability)?;
    }
    Ok(sub)
}

/// Opens the folder of a priority, making it if need be. It is durable before a task in it is.
pub(crate) fn priority_folder(
    spool: &SpoolDir,
    priority: &Priority,
    durability: Durability,
) -> io::Result<Folder> {
    let folder = if let Some(folder) = spool.priority_folder(priority)? {
        folder
    } else {
        let is_new = spool.top().make_sub(priority.as_bytes())?;
        let folder = spool.top().open_sub(priority.as_bytes())?;
        if is_new {
            // Tells a daemon of it now, which otherwise may hear of it a moment later.
            folder.touch()?;
        }
        folder
    };
    if durability != Durability::None {
        spool.durable.ensure(&folder, spool.top()).inspect_err(|_| {
            // One that is made anew can be flushed anew. If somebody uses it, it stays.
            let _ = spool.top().remove_sub(priority.as_bytes());
        })?;
    }
    Ok(folder)
}

/// What a single `write` stores whole or not at all, also if its process is killed or the disk is
/// full: the smallest page of any machine.
const ONE_WRITE_BYTES_MAX: usize = 4096;

/// A task that is about to be published.
struct Whole<'a> {
    name: &'a [u8],
    content: &'a [u8],
    due_ns: Option<i64>,
}

impl Whole<'_> {
    /// Writes a file that one call can write under its name at once. Readers take it for unfinished
    /// while it is empty, and a submitter that dies in between leaves it so. Nothing that durability
    /// or a due time needs may come between the two calls.
    fn write_in_place(&self, folder: &Folder) -> io::Result<()> {
        let file = folder.create(self.name)?;
        // COMMIT POINT: from here on the task exists, whole.
        let written = write_all(file.as_fd(), self.content);
        if written.is_err() {
            let _ = folder.unlink(self.name);
        }
        written
    }

    /// Writes the file under a name that nobody reads, then gives it its name. Leaves nothing behind
    /// on failure; the error says at what.
    fn write_aside_and_rename(
        &self,
        folder: &Folder,
        durability: Durability,
    ) -> Result<(), Failed> {
        let aside = [b".", self.name].concat();
        // Closed after the rename, so that a watcher hears of both at once.
        let _open = self
            .write_aside(folder, &aside, durability)
            .map_err(|error| ("write a file", error))?;
        // COMMIT POINT: from here on the task exists, whole.
        folder.rename(&aside, folder, self.name).map_err(|error| {
            let _ = folder.unlink(&aside);
            ("publish a file", error)
        })
    }

    /// Writes in the folder where the file belongs: a rename within one directory costs a third of
    /// one between two.
    fn write_aside(
        &self,
        folder: &Folder,
        aside: &[u8],
        durability: Durability,
    ) -> io::Result<OwnedFd> {
        let attempt = || {
            let file = folder.create(aside)?;
            let written = (|| {
                write_all(file.as_fd(), self.content)?;
                if let Some(due_ns) = self.due_ns {
                    set_mtime(file.as_fd(), due_ns)?;
                }
                if durability == Durability::None { Ok(false) } else { sync(&file) }
            })();
            if written.is_err() {
                let _ = folder.unlink(aside);
            }
            written.map(|flush_failed| (file, flush_failed))
        };
        // After a failed flush the kernel may call the lost pages clean: never flush that file
        // again, write a new one from memory, once.
        for _ in 0..2 {
            match attempt()? {
                (file, false) => return Ok(file),
                (_, true) => folder.unlink(aside)?,
            };
        }
        Err(io::Error::other("the file did not flush, twice"))
    }
}

/// Flushes a file. `Ok(true)` means that the flush failed in a way that a new file may not.
fn sync(file: &OwnedFd) -> io::Result<bool> {
    match sync_file(file.as_fd()) {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(EIO) => Ok(true),
        Err(error) => Err(error),
    }
}

/// "Input/output error" on Linux.
const EIO: i32 = 5;
