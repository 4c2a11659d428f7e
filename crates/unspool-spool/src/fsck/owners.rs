//! Whether what lies in `.unspool` belongs to whose spool it is: what root or another user left there its
//! daemons cannot change, and some of it not even read.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use unspool_sys::folder::{FileKind, Folder, Sharing, Stat, os_str};
use unspool_sys::{file, host};

use super::{Check, Fsck, Level};
use crate::layout::INTERNAL;

/// Folders within folders that are looked at: there are no more.
const DEPTH_MAX: usize = 4;

/// Files and folders of one folder that are somebody else's.
struct Strangers {
    path: PathBuf,
    folder: Folder,
    names: Vec<Vec<u8>>,
    owner: u32,
}

impl Fsck<'_> {
    /// What is shared with a group may be of any of its members.
    pub(super) fn check_owners(&mut self) {
        let path = self.path.join(os_str(INTERNAL));
        let (Some(internal), Ok(top)) = (&self.internal, file::stat_file(self.top.as_fd())) else {
            return;
        };
        let (Ok(internal), Ok(own)) = (internal.try_clone(), file::stat_file(internal.as_fd()))
        else {
            return;
        };
        if Sharing::of_folder(own.mode) == Sharing::GroupWrites {
            return;
        }
        // Root makes none for itself in another user's spool; another user may run the spool of a third.
        let mut wanted = own;
        if own.owner == 0 && top.owner != 0 {
            wanted = top;
            if let Ok(folder) = self.top.try_clone() {
                let names = vec![INTERNAL.to_vec()];
                let own = Strangers { path: self.path.clone(), folder, names, owner: own.owner };
                self.tell_strangers(&own, &wanted);
            }
        }
        self.check_owned(internal, &path, &wanted, 0);
    }

    fn check_owned(&mut self, folder: Folder, path: &Path, wanted: &Stat, depth: usize) {
        // What cannot be listed is told by the check of what lies in it.
        let Ok(listing) = folder.list() else { return };
        let (mut names, mut owner, mut inner) = (Vec::new(), wanted.owner, Vec::new());
        for (name, _) in listing.flatten() {
            let Ok(Some(stat)) = folder.stat(&name) else { continue };
            if stat.kind == FileKind::Directory {
                inner.push(name.clone());
            }
            if stat.owner != wanted.owner && stat.kind != FileKind::Other {
                owner = stat.owner;
                names.push(name);
            }
        }
        let inner: Vec<_> = inner
            .into_iter()
            .filter_map(|name| Some((folder.open_sub(&name).ok()?, name)))
            .collect();
        if !names.is_empty() {
            self.tell_strangers(&Strangers { path: path.to_owned(), folder, names, owner }, wanted);
        }
        if depth < DEPTH_MAX {
            for (sub, name) in inner {
                self.check_owned(sub, &path.join(os_str(&name)), wanted, depth + 1);
            }
        }
    }

    fn tell_strangers(&mut self, found: &Strangers, wanted: &Stat) {
        let Strangers { path, folder, names, owner } = found;
        let Some(first) = names.first() else { return };
        let place = path.join(os_str(first));
        let (uid, gid) = (wanted.owner, wanted.group);
        let more = match names.len() {
            1 => String::new(),
            count => format!(", as {} more there do", count - 1),
        };
        let what = format!(
            "it belongs to uid {owner}{more}: daemons of uid {uid}, whose spool it is, cannot use it"
        );
        if !host::is_root() {
            let how = format!("as root, `unspool fsck --repair`, or `chown {uid}:{gid}`");
            return self.by_hand(Check::Directory, &place, what, &how);
        }
        let would = format!("--repair gives it to uid {uid}");
        self.repair((Check::Directory, Level::Problem), &place, what, &would, |_| {
            for name in names {
                match folder.give_name(name, uid, gid) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    given => given?,
                }
            }
            Ok(Some(format!("given to uid {uid}")))
        });
    }
}
