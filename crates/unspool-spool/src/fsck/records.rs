//! The checks of the records of attempts in the internals.

use std::io;
use std::path::Path;

use unspool_sys::folder::{FileKind, Folder, os_str};

use super::{Check, Fsck, Level};
use crate::attempts::{ATTEMPTS, damaged_lines, forget_attempts};
use crate::is_task_name;
use crate::layout::{DEAD, INTERNAL};
use crate::records::{Owner, find_owner, finish_burial, is_over};

impl Fsck<'_> {
    pub(super) fn check_records(&mut self) {
        let Some(internal) = &self.internal else { return };
        let path = self.path.join(os_str(INTERNAL)).join(os_str(ATTEMPTS));
        let folder = match internal.open_sub(ATTEMPTS) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(&path, &error),
        };
        let listing = match folder.list() {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(&path, &error),
        };
        for entry in listing {
            match entry {
                Ok((name, _)) => self.check_record(&folder, &path.join(os_str(&name)), &name),
                Err(error) => return self.unreadable(&path, &error),
            }
        }
    }

    fn check_record(&mut self, folder: &Folder, path: &Path, name: &[u8]) {
        let stat = match folder.stat(name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return,
            Err(error) => return self.unreadable(path, &error),
        };
        if !is_task_name(name) || stat.kind != FileKind::File {
            return self.note(Check::Names, path, "no record of attempts", "kept");
        }
        match damaged_lines(folder, name) {
            Ok(0) => {}
            Ok(lines) => {
                let what = format!("{lines} of its lines are no attempts: they were cut");
                self.note(Check::Records, path, what, "readers leave them out");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => self.unreadable(path, &error),
        }
        let found = find_owner(&self.top, self.folders(), name);
        match found {
            Ok(Owner::Pending) => self.reporter.summary.records += 1,
            Ok(Owner::Corrupt) => {
                self.note(Check::Records, path, "its task is in corrupt/", "kept");
            }
            Ok(Owner::Dead(buried)) => self.stranded(path, name, &buried),
            Ok(Owner::Nowhere) => match is_over(folder, name, &stat, self.now_ns) {
                Ok(old) => self.orphaned(path, name, old),
                Err(error) => self.unreadable(path, &error),
            },
            Err(error) => self.unreadable(path, &error),
        }
    }

    /// The task was moved to `dead/`, and then something came between.
    fn stranded(&mut self, path: &Path, name: &[u8], buried: &[u8]) {
        let to = self.path.join(os_str(DEAD));
        let what = format!("its task is buried as {}", to.join(os_str(buried)).display());
        let would = "--repair moves it there too, as the next start of a daemon does";
        self.repair((Check::Records, Level::Problem), path, what, would, |spool| {
            let done = finish_burial(spool, name, buried)?;
            Ok(done.then(|| format!("moved to {}", to.display())))
        });
    }

    fn orphaned(&mut self, path: &Path, name: &[u8], old: bool) {
        let what = "its task is nowhere: finished, cancelled, or moved out of the spool";
        if !old {
            let then = "kept until it is a week old, since the task may come back";
            return self.note(Check::Records, path, what, then);
        }
        let would = "--repair removes it, as the next start of a daemon does";
        self.repair((Check::Records, Level::Note), path, what, would, |spool| {
            forget_attempts(spool, name)?;
            Ok(Some("removed: it is old enough".to_owned()))
        });
    }
}
