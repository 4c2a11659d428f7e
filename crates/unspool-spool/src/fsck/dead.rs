//! The checks of `dead/` and `corrupt/`: nothing of them is ever removed.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{MODIFIER1, mark_of};
use unspool_sys::file;
use unspool_sys::folder::{FileKind, Folder, os_str};

use super::{Check, Fsck, Level};
use crate::attempts::{BURIED, buried_name};
use crate::is_task_name;
use crate::layout::{CORRUPT, DEAD};
use crate::records::reset_count;

impl Fsck<'_> {
    pub(super) fn check_dead(&mut self) {
        if let Some((folder, path)) = self.kept(CORRUPT) {
            let files = folder.list().into_iter().flatten().flatten();
            self.reporter.summary.corrupt = files.count() as u64;
            let _ = path;
        }
        let Some((dead, path)) = self.kept(DEAD) else { return };
        let listing = match dead.list() {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(&path, &error),
        };
        for entry in listing {
            match entry {
                Ok((name, _)) => self.check_buried(&dead, &path.join(os_str(&name)), &name),
                Err(error) => return self.unreadable(&path, &error),
            }
        }
    }

    /// One of the two folders, if it is there and is one.
    fn kept(&mut self, name: &[u8]) -> Option<(Folder, std::path::PathBuf)> {
        let path = self.path.join(os_str(name));
        match self.top.open_sub(name) {
            Ok(folder) => {
                if let Ok(stat) = file::stat_file(folder.as_fd()) {
                    self.check_mode(&path, &stat);
                }
                Some((folder, path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if matches!(self.top.stat(name), Ok(Some(stat)) if stat.kind != FileKind::Directory) =>
            {
                let what = format!("not a folder ({error}): nothing can be moved there");
                self.by_hand(Check::Directory, &path, what, "move it away");
                None
            }
            Err(error) => {
                self.unreadable(&path, &error);
                None
            }
        }
    }

    fn check_buried(&mut self, dead: &Folder, path: &Path, name: &[u8]) {
        if let Some(task) = name.strip_prefix(BURIED) {
            if matches!(dead.stat(task), Ok(None)) {
                self.note(Check::Dead, path, "a record whose task is not here any more", "kept");
            }
            return;
        }
        if !is_task_name(name) {
            return self.note(Check::Names, path, "neither a task nor a record", "kept");
        }
        let file = match dead.open_to_read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(path, &error),
        };
        let mut head = [0u8; PEEK_BYTES];
        let got = match file::read_at(file.as_fd(), &mut head, 0) {
            Ok(got) => got,
            Err(error) => return self.unreadable(path, &error),
        };
        self.reporter.summary.dead += 1;
        self.reporter.looked();
        if matches!(dead.stat(&buried_name(name)), Ok(None)) {
            self.reporter.summary.dead_unrecorded += 1;
        }
        if let Some(mark) = mark_of(&head[..got]) {
            self.repeats.meet(mark.id);
        }
        if got >= 4 && head[0] == MODIFIER1 && head[3] != 0 {
            let what = format!(
                "its burial was cut: it counts {} attempts, and would be given up again at once if it \
                 were moved back",
                head[3]
            );
            let would = "--repair sets its count to 0";
            self.repair((Check::Dead, Level::Problem), path, what, would, |_| {
                Ok(reset_count(dead, name)?.map(|_| "its count is 0".to_owned()))
            });
        }
    }
}
