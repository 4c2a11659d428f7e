//! The folders in which watched files lie, and their inotify watches.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use unspool_sys::folder;
use unspool_sys::notify::{Watcher as Notify, hears_all};

/// A watched folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    watch: Option<i32>,
    /// Not every change in it raises an event.
    remote: bool,
    /// A link leads to it, which may lead elsewhere tomorrow.
    pub(super) indirect: bool,
    /// Targets by their name in it.
    pub(super) names: HashMap<Vec<u8>, Vec<u64>>,
    /// Targets that any name in it concerns.
    pub(super) whole: Vec<u64>,
}

impl Folder {
    /// Whether changes in it may go unheard.
    pub(super) fn is_deaf(&self) -> bool {
        self.watch.is_none() || self.remote
    }
}

/// All watched folders, by path.
#[derive(Debug, Default)]
pub(super) struct Folders {
    folders: BTreeMap<PathBuf, Folder>,
    /// Several paths may lead to one folder.
    watches: HashMap<i32, Vec<PathBuf>>,
}

impl Folders {
    /// The folder of this path; it is watched from now on, if it is there.
    pub(super) fn entry(&mut self, path: &Path, notify: &Notify) -> &mut Folder {
        if !self.folders.contains_key(path) {
            self.folders.insert(path.to_owned(), Folder::default());
            self.watch(path, notify);
        }
        self.folders.entry(path.to_owned()).or_default()
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Folder> {
        self.folders.get(path)
    }

    /// The folders of a watch.
    pub(super) fn of_watch(&self, watch: i32) -> impl Iterator<Item = &Folder> {
        let paths = self.watches.get(&watch).into_iter().flatten();
        paths.filter_map(|path| self.folders.get(path))
    }

    fn watch(&mut self, path: &Path, notify: &Notify) {
        let Some(folder) = self.folders.get_mut(path) else { return };
        let watch = notify.add(path).ok();
        folder.remote = watch.is_some() && !hears_all(path).unwrap_or(false);
        folder.indirect = folder::canonical(path).is_ok_and(|real| real != path);
        let before = std::mem::replace(&mut folder.watch, watch);
        if before == watch {
            return;
        }
        if let Some(before) = before {
            self.release(before, path, notify);
        }
        if let Some(watch) = watch {
            self.watches.entry(watch).or_default().push(path.to_owned());
        }
    }

    fn release(&mut self, watch: i32, path: &Path, notify: &Notify) {
        let Some(paths) = self.watches.get_mut(&watch) else { return };
        paths.retain(|other| other != path);
        if paths.is_empty() {
            self.watches.remove(&watch);
            notify.remove(watch);
        }
    }

    /// A watch is no more: its folder is gone.
    pub(super) fn lost(&mut self, watch: i32) {
        for path in self.watches.remove(&watch).unwrap_or_default() {
            if let Some(folder) = self.folders.get_mut(&path) {
                folder.watch = None;
            }
        }
    }

    /// Watches what each path leads to now.
    pub(super) fn renew(&mut self, notify: &Notify) {
        let paths: Vec<PathBuf> = self.folders.keys().cloned().collect();
        for path in paths {
            self.watch(&path, notify);
        }
    }

    /// Watches folders that were not there.
    pub(super) fn try_missing(&mut self, notify: &Notify) {
        let missing = self.folders.iter().filter(|(_, folder)| folder.watch.is_none());
        let missing: Vec<PathBuf> = missing.map(|(path, _)| path.clone()).collect();
        for path in missing {
            self.watch(&path, notify);
        }
    }

    /// Forgets targets, and folders without any.
    pub(super) fn forget(&mut self, gone: &dyn Fn(u64) -> bool, notify: &Notify) {
        let mut empty = Vec::new();
        for (path, folder) in &mut self.folders {
            folder.whole.retain(|target| !gone(*target));
            folder.names.retain(|_, targets| {
                targets.retain(|target| !gone(*target));
                !targets.is_empty()
            });
            if folder.whole.is_empty() && folder.names.is_empty() {
                empty.push(path.clone());
            }
        }
        for path in empty {
            if let Some(watch) = self.folders.remove(&path).and_then(|folder| folder.watch) {
                self.release(watch, &path, notify);
            }
        }
    }
}
