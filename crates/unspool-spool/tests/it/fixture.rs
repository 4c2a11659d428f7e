//! A spool in a temporary directory, and looks at what lies in it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLockReadGuard;

use tempfile::TempDir;
use unspool_core::taskfile::{Mark, TaskFile};
use unspool_core::{Durability, Message, Priority};
use unspool_spool::{SpoolDir, is_aside_name, is_task_name, submit};
use unspool_sys::Folder;

use crate::child::no_forks;

/// A file that uWSGI 2.0.31 wrote for `{ud_spool_func: f, a: 1, at, priority}` and a body.
pub(crate) const FOREIGN: &[u8] =
    b"\x11\x35\x00\x00\x0d\x00ud_spool_func\x01\x00f\x01\x00a\x01\x001\x02\x00at\
\x0a\x002000000000\x08\x00priority\x01\x005BODY\x00bytes";

/// A spool that is gone with this value.
#[derive(Debug)]
pub(crate) struct Fixture {
    root: TempDir,
    pub(crate) spool: SpoolDir,
    _no_forks: Option<RwLockReadGuard<'static, ()>>,
}

impl Fixture {
    /// The spool `spool` in a directory of its own.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let spool = SpoolDir::open(&root.path().join("spool")).unwrap();
        Self { root, spool, _no_forks: None }
    }

    /// The same, for a test of locks or events that itself starts no process.
    pub(crate) fn undisturbed() -> Self {
        let guard = no_forks();
        Self { _no_forks: Some(guard), ..Self::new() }
    }

    /// The directory around the spool.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path in the spool.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.spool.path().join(name)
    }

    /// Submits without flushing.
    pub(crate) fn submit(&self, pairs: &[(&str, &str)]) -> PathBuf {
        submit(&self.spool, &message(pairs, b""), Durability::None).unwrap()
    }

    /// Writes a file in place, not by way of the library.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The open folder of a priority.
    pub(crate) fn folder(&self, priority: &str) -> Folder {
        let priority = Priority::new(priority.as_bytes()).unwrap();
        self.spool.priority_folder(&priority).unwrap().unwrap()
    }

    /// The files with a task's name in the spool, but for those with a priority.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        tasks_in(self.spool.path())
    }

    /// The files of submissions that did not come to their end.
    pub(crate) fn aside(&self) -> Vec<String> {
        let mut names = names_in(self.spool.path());
        names.retain(|name| is_aside_name(name.as_bytes()));
        names
    }
}

/// The names in a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files with a task's name in a directory.
pub(crate) fn tasks_in(directory: &Path) -> Vec<PathBuf> {
    let names = names_in(directory).into_iter();
    names.filter(|name| is_task_name(name.as_bytes())).map(|name| directory.join(name)).collect()
}

pub(crate) fn message(pairs: &[(&str, &str)], body: &[u8]) -> Message {
    let pair = |(k, v): &(&str, &str)| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
    Message { pairs: pairs.iter().map(pair).collect(), body: body.to_vec(), ..Message::default() }
}

/// Parses one of our own files, checksum and all.
pub(crate) fn parse_ours(path: &Path) -> (Mark, u8, Message) {
    let content = std::fs::read(path).unwrap();
    let task = TaskFile::parse(&content).unwrap();
    (task.mark.expect("a file of ours"), task.attempts, task.to_message())
}

/// A path's last part, as the library takes it.
pub(crate) fn name_of(path: &Path) -> &[u8] {
    path.file_name().unwrap().as_bytes()
}

/// Permission bits of a path.
pub(crate) fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Sets the permission bits of a path.
pub(crate) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// An error and what caused it, as a user sees it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
