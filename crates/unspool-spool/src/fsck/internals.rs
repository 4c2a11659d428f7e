//! The checks of `.unspool`: daemons, the schedule, the record of the first start, files aside.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use unspool_sys::file;
use unspool_sys::folder::{FileKind, Folder, os_str};

use super::{Check, Fsck, Level};
use crate::adopt::{ADOPTED, AdoptError, read_record};
use crate::attempts::ATTEMPTS;
use crate::daemons::{Whose, is_abandoned, remove_daemon, runs_in, take_dead_notes, whose};
use crate::garbage::GARBAGE_AGE_NS;
use crate::layout::{DAEMONS, INTERNAL};
use crate::pause::{self, DAMAGED, PAUSE_LOCK, PAUSED, PauseError};
use crate::present::pid_of;
use crate::receive::{INCOMING, SEEN};
use crate::relayed::{RELAY, RELAY_ASIDE, RELAY_LOCK};
use crate::running::Run;
use crate::schedule::{FIRED, LEADER, SCHEDULE};

/// What the internals have, besides what is being written.
const KNOWN: [&[u8]; 16] = [
    b"version",
    ADOPTED,
    b"adopt-lock",
    DAEMONS,
    SCHEDULE,
    b"shared",
    ATTEMPTS,
    b"pending",
    PAUSED,
    PAUSE_LOCK,
    DAMAGED,
    INCOMING,
    SEEN,
    RELAY,
    RELAY_LOCK,
    OUTBOXES,
];
/// Where outboxes of relays lie by default.
const OUTBOXES: &[u8] = b"outbox";
/// What files are called that are written aside.
const ASIDE: [&[u8]; 4] = [b".version-", b".adopted-", b".paused-", RELAY_ASIDE];

impl Fsck<'_> {
    fn internal_path(&self) -> PathBuf {
        self.path.join(os_str(INTERNAL))
    }

    /// The record of the first start, and what else lies beside it.
    pub(super) fn check_adoption(&mut self) {
        let path = self.internal_path();
        let Some(internal) = self.internal.as_ref().map(Folder::try_clone) else { return };
        let internal = match internal {
            Ok(internal) => internal,
            Err(error) => return self.unreadable(&path, &error),
        };
        if let Ok(stat) = file::stat_file(internal.as_fd()) {
            self.check_mode(&path, &stat);
        }
        match read_record(&internal, &path) {
            Err(AdoptError::Damaged { path }) if is_newer(&internal) => {
                let what = "it is of a newer unspool";
                self.by_hand(Check::Adoption, &path, what, "update unspool");
            }
            Err(AdoptError::Damaged { path }) => {
                let what = "it cannot be read: no daemon starts";
                let would = "--repair moves it aside: the next start is a first one, and holds old tasks \
                             of uWSGI until somebody decides";
                self.repair((Check::Adoption, Level::Problem), &path, what, would, |_| {
                    let aside = [ADOPTED, b".damaged"].concat();
                    internal.replace(ADOPTED, &aside)?;
                    Ok(Some(format!("renamed to {}", String::from_utf8_lossy(&aside))))
                });
            }
            Err(AdoptError::Io { path, source, .. }) => self.unreadable(&path, &source),
            Ok(_) | Err(_) => {}
        }
        match internal.list() {
            Ok(listing) => {
                for (name, _) in listing.flatten() {
                    self.check_internal(&internal, &path.join(os_str(&name)), &name);
                }
            }
            Err(error) => self.unreadable(&path, &error),
        }
    }

    /// What is paused, if that can be read.
    pub(super) fn check_pauses(&mut self) {
        let path = self.internal_path();
        let read = self.internal.as_ref().map(|internal| pause::read_in(internal, &path));
        let Some(read) = read else { return };
        match read {
            Ok(pauses) => {
                let path = path.join(os_str(PAUSED));
                for pause in pauses.iter() {
                    let what = format!("{} is paused by {}", pause.scope.describe(), pause.by);
                    self.note(Check::Pauses, &path, what, "`unspool resume` lets it run");
                }
            }
            Err(PauseError::Io { path, source, .. }) => self.unreadable(&path, &source),
            Err(_) => {
                let path = path.join(os_str(PAUSED));
                let what = "it is damaged or of a newer unspool: nothing of the spool runs";
                let how = "update unspool, or let everything run by `unspool resume --all`";
                self.by_hand(Check::Pauses, &path, what, how);
            }
        }
    }

    fn check_internal(&mut self, internal: &Folder, path: &Path, name: &[u8]) {
        if KNOWN.contains(&name) || name == [ADOPTED, b".damaged"].concat() {
            return;
        }
        if !ASIDE.iter().any(|start| name.starts_with(start)) {
            return self.note(Check::Names, path, "nothing that this unspool knows", "left alone");
        }
        let Ok(Some(stat)) = internal.stat(name) else { return };
        if stat.kind == FileKind::File && self.now_ns.saturating_sub(stat.ctime_ns) > GARBAGE_AGE_NS
        {
            let what = "left by a process that died while it wrote it";
            let would = "--repair removes it";
            self.repair((Check::Unfinished, Level::Note), path, what, would, |_| {
                Ok(internal.unlink(name)?.then(|| "removed".to_owned()))
            });
        }
    }

    pub(super) fn check_schedule(&mut self) {
        let path = self.internal_path().join(os_str(SCHEDULE));
        let Some(internal) = &self.internal else { return };
        let schedule = match internal.open_sub(SCHEDULE) {
            Ok(schedule) => schedule,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(&path, &error),
        };
        let listing = match schedule.list() {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(&path, &error),
        };
        for (name, _) in listing.flatten() {
            let path = path.join(os_str(&name));
            match schedule.open_sub(&name) {
                Ok(folder) => self.check_fired(&folder, &path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&path, &error),
            }
        }
    }

    fn check_fired(&mut self, folder: &Folder, path: &Path) {
        for name in [LEADER, FIRED] {
            let path = path.join(os_str(name));
            let mut text = [0u8; 64];
            let read = folder.open_to_read(name).and_then(|file| {
                let got = file::read_at(file.as_fd(), &mut text, 0)?;
                Ok(String::from_utf8_lossy(&text[..got]).trim().to_owned())
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&path, &error),
                Ok(minute)
                    if name == FIRED && !minute.is_empty() && minute.parse::<i64>().is_err() =>
                {
                    let then = "the next cron writes it anew; one minute may be fired twice";
                    self.note(Check::Schedule, &path, "it is no minute: a power cut tore it", then);
                }
                Ok(_) => {}
            }
        }
    }

    /// Tells who runs the spool, and learns what dead daemons ran.
    pub(super) fn look_at_daemons(&mut self) {
        let path = self.internal_path().join(os_str(DAEMONS));
        let Some(internal) = &self.internal else { return };
        let daemons = match internal.open_sub(DAEMONS) {
            Ok(daemons) => daemons,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(&path, &error),
        };
        let listing = match daemons.list() {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(&path, &error),
        };
        for (name, _) in listing.flatten() {
            let path = path.join(os_str(&name));
            match daemons.open_sub(&name) {
                Ok(folder) => self.look_at_daemon(name, folder, &path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.note(Check::Names, &path, "no folder of a daemon", "left alone"),
            }
        }
    }

    fn look_at_daemon(&mut self, name: Vec<u8>, folder: Folder, path: &Path) {
        match whose(&folder, self.now_ns) {
            Whose::Living => {
                let what = pid_of(&folder).map_or_else(
                    || "a daemon runs this spool, or starts".to_owned(),
                    |pid| format!("process {pid} runs this spool"),
                );
                self.note(Check::Daemons, path, what, "");
            }
            Whose::Dead(Ok(runs)) => {
                let number = self.lost.daemons.len();
                for Run { inode, ctime_ns, pid, .. } in runs {
                    self.lost.runs.insert((inode, ctime_ns), (pid, number, false));
                }
                self.lost.daemons.push((name, folder));
            }
            Whose::Dead(Err(error)) => self.unreadable(path, &error),
            Whose::Abandoned => self.lost.daemons.push((name, folder)),
        }
    }

    /// What is left of daemons whose tasks have all been met or are gone.
    pub(super) fn finish_daemons(&mut self) {
        let daemons = std::mem::take(&mut self.lost.daemons);
        let path = self.internal_path().join(os_str(DAEMONS));
        for (number, (name, folder)) in daemons.iter().enumerate() {
            let runs = self.lost.runs.values().filter(|run| run.1 == number && run.2).count();
            let path = path.join(os_str(name));
            if runs > 0 {
                let tasks = if runs == 1 { "task" } else { "tasks" };
                let what = format!("left by a daemon that died while {runs} {tasks} ran");
                let then = "the next start counts them and removes it";
                self.note(Check::Daemons, &path, what, then);
                continue;
            }
            if self.incomplete {
                let what =
                    "left by a daemon that died; what it ran may be among what cannot be read";
                self.note(Check::Daemons, &path, what, "the next start looks for it again");
                continue;
            }
            let lost = &self.lost.runs;
            let known: Vec<(u64, i64)> =
                lost.iter().filter(|(_, run)| run.1 == number).map(|(key, _)| *key).collect();
            let would = "--repair removes it, as the next start of a daemon does";
            let what = "left by a daemon that died; no task ran that is still here";
            let now_ns = self.now_ns;
            self.repair((Check::Daemons, Level::Note), &path, what, would, |spool| {
                let removed = remove_dead(spool, name, folder, &known, now_ns)?;
                Ok(removed.then(|| "removed".to_owned()))
            });
        }
    }
}

/// Whether the record of the first start begins like one of another version.
fn is_newer(internal: &Folder) -> bool {
    const START: &[u8] = b"unspool adopted ";
    let mut head = [0u8; START.len() + 2];
    let got = internal
        .open_to_read(ADOPTED)
        .and_then(|file| file::read_at(file.as_fd(), &mut head, 0))
        .unwrap_or(0);
    let number = head[..got].strip_prefix(START);
    number.is_some_and(|number| number.first().is_some_and(u8::is_ascii_digit) && number != b"1\n")
}

/// Removes the folder of a daemon that is dead and ran nothing but `known`.
fn remove_dead(
    spool: &crate::SpoolDir,
    name: &[u8],
    folder: &Folder,
    known: &[(u64, i64)],
    now_ns: i64,
) -> io::Result<bool> {
    if let Some(notes) = take_dead_notes(folder) {
        let runs = runs_in(&notes)?;
        if !runs.iter().all(|run| known.contains(&(run.inode, run.ctime_ns))) {
            return Ok(false);
        }
        remove_daemon(spool, name, folder)?;
        return Ok(true);
    }
    if !is_abandoned(folder, now_ns) {
        return Ok(false);
    }
    remove_daemon(spool, name, folder)?;
    Ok(true)
}
