//! A spool: its directory, and what lies in it.

use std::os::fd::AsFd;
use std::path::Path;

use unspool_config::Config;
use unspool_spool::{FsckOptions, Kept, Shelves, SpoolView, fsck, list, read_pauses};
use unspool_sys::file::stat_file;
use unspool_sys::folder::Stat;
use unspool_sys::host;
use unspool_sys::space::{FileSystem, file_system, space};

use super::typed::Typed;
use super::{Findings, many};
use crate::{bounds, display};

/// A disk with less is nearly full.
const BYTES_LEFT_MIN: u64 = 256 << 20;
/// How long a damaged file must not have changed.
const SETTLE_NS: i64 = 60_000_000_000;

/// `file` is that of the configuration.
pub(super) fn look(path: &Path, config: Option<&Config>, file: Option<&Path>) -> Findings {
    let mut found = Findings::of("spool");
    let shown = path.display();
    if !path.exists() {
        found.note(format!("{shown} is not there yet: the first start or submission makes it"));
        return found;
    }
    let view = match SpoolView::open(path) {
        Ok(view) => view,
        Err(error) => {
            let uid = host::uid();
            found.problem(
                crate::logging::with_causes(&error),
                format!(
                    "who runs it has to own it: look as that user, or {} if uid {uid} is to run it",
                    Typed { spool: path, config: file }.on_directory(&format!("chown -R {uid}"))
                ),
            );
            return found;
        }
    };
    let typed = Typed { spool: view.path(), config: file };
    match stat_file(view.top().as_fd()) {
        Ok(stat) => look_at_directory(&mut found, &view, &stat, &typed),
        Err(error) => found.error(&error),
    }
    look_at_disk(&mut found, &view, config);
    look_at_floor(&mut found, &view, config);
    look_at_pauses(&mut found, &view, &typed);
    look_at_tasks(&mut found, &view, &typed);
    found
}

fn look_at_directory(found: &mut Findings, view: &SpoolView, stat: &Stat, typed: &Typed<'_>) {
    let (shown, uid, mode) = (view.path().display(), host::uid(), stat.mode & 0o7777);
    if let Err(error) = view.top().check_writable() {
        found.problem(
            format!("{shown} cannot be written by uid {uid}: {error}"),
            format!(
                "{}, or run unspool and the application as uid {}",
                typed.on_directory(&format!("chown -R {uid}")),
                stat.owner
            ),
        );
    } else if stat.owner != uid && !host::is_root() {
        found.warning(
            format!("{shown} belongs to uid {}, and this is uid {uid}", stat.owner),
            "who submits and who runs should be one user, or share a group with `spooler-group`",
        );
    } else {
        found.fine(format!("{shown}: mode {mode:04o}, uid {}", stat.owner));
    }
    if mode & 0o002 != 0 {
        found.problem(
            format!("{shown} can be written by anybody, who thereby decides what your workers run"),
            typed.on_directory("chmod 700"),
        );
    }
}

fn look_at_disk(found: &mut Findings, view: &SpoolView, config: Option<&Config>) {
    let shown = view.path().display();
    match file_system(view.top().as_fd()) {
        Ok(FileSystem::Network(network)) => {
            let every_s = config.map_or(30.0, |config| config.spooler_frequency.as_secs_f64());
            let locks = if network.locks_are_shared {
                "its locks are seen by all machines, unless it was mounted so that they are not"
            } else {
                "its locks may be seen on this machine alone: let no other one run it"
            };
            found.warning(
                format!(
                    "{shown} is on {}, which tells of no changes from elsewhere; {locks}",
                    network.name
                ),
                format!(
                    "tasks of other machines are found by scans alone, every {every_s} s \
                     (`spooler-frequency`): run the daemon where tasks are submitted, or relay them"
                ),
            );
        }
        Ok(FileSystem::Memory) => found.warning(
            format!(
                "{shown} is in memory: tasks are gone with the machine, whatever their durability"
            ),
            "use a directory on a disk",
        ),
        Ok(FileSystem::Other) => {}
        Err(error) => found.error(&error),
    }
    let Ok(space) = space(view.top().as_fd()) else { return };
    if space.bytes_left < BYTES_LEFT_MIN && space.bytes_left < space.bytes / 20 {
        found.warning(
            format!("the disk of {shown} has {} MiB left", space.bytes_left >> 20),
            "free some room; `spooler-min-free` refuses tasks before there is none",
        );
    }
    if space.inodes > 0 && space.inodes_left < space.inodes / 50 {
        found.warning(
            format!(
                "the disk of {shown} has {} inodes left, and each task takes one",
                space.inodes_left
            ),
            "remove files that nobody needs",
        );
    }
}

/// Whether submissions are refused for want of room.
fn look_at_floor(found: &mut Findings, view: &SpoolView, config: Option<&Config>) {
    let floor = config.and_then(|config| bounds::own(&config.bounds).free);
    let (Some(floor), Ok(space)) = (floor, space(view.top().as_fd())) else { return };
    let (bytes, inodes) = floor.of(space.bytes, space.inodes);
    let shown = view.path().display();
    let lacks = if space.bytes_left < bytes {
        format!(
            "{} MiB left, and `spooler-min-free` asks for {}",
            space.bytes_left >> 20,
            bytes >> 20
        )
    } else if space.inodes > 0 && space.inodes_left < inodes {
        format!("{} inodes left, and `spooler-min-free` asks for {inodes}", space.inodes_left)
    } else {
        return;
    };
    found.problem(
        format!("submissions to {shown} are refused: its disk has {lacks}"),
        "free some room, or lower the floor",
    );
}

/// What somebody keeps from running.
fn look_at_pauses(found: &mut Findings, view: &SpoolView, typed: &Typed<'_>) {
    let shown = view.path().display();
    match read_pauses(view) {
        Ok(pauses) => {
            for pause in pauses.iter() {
                let what = pause.scope.describe();
                found.warning(
                    format!("{what} of {shown} is {}", display::paused(pause)),
                    typed.resume(&pause.scope),
                );
            }
        }
        Err(error) => found.error(&error),
    }
}

fn look_at_tasks(found: &mut Findings, view: &SpoolView, typed: &Typed<'_>) {
    let shown = view.path().display();
    let count = |wanted: Kept| {
        let shelves = Shelves {
            pending: false,
            dead: wanted == Kept::Dead,
            corrupt: wanted == Kept::Corrupt,
        };
        list(view, shelves).flatten().count()
    };
    match count(Kept::Dead) {
        0 => {}
        dead => found.warning(
            format!("{} given up in {shown}", many(dead, "task", "was", "were")),
            format!(
                "{} lists them with what they failed with, {} runs one where you can watch it, {} tries it \
                 again",
                typed.on_spool("ls", "--state dead"),
                typed.on_task("replay"),
                typed.on_task("retry")
            ),
        ),
    }
    match count(Kept::Corrupt) {
        0 => {}
        corrupt => found.warning(
            format!(
                "{} no whole task, or not signed as it has to be, in {shown}",
                many(corrupt, "file", "is", "are")
            ),
            format!(
                "{} lists them, {} says what is wrong; nothing there is ever run or deleted by itself",
                typed.on_spool("ls", "--state corrupt"),
                typed.on_task("show")
            ),
        ),
    }
    let options = FsckOptions { settle_ns: SETTLE_NS, ..FsckOptions::default() };
    match fsck(view.path(), &options, &mut |_| {}) {
        Ok(summary) if summary.problems == 0 => {
            let tasks = display::count(summary.tasks, "task");
            found.fine(format!("{shown}: {tasks}, and nothing is out of place"));
        }
        Ok(summary) => found.problem(
            format!(
                "{} out of place in {shown}",
                many(summary.problems as usize, "thing", "is", "are")
            ),
            format!(
                "{} names them, {} mends them",
                typed.on_spool("fsck", ""),
                typed.on_spool("fsck", "--repair")
            ),
        ),
        Err(error) => found.error(&error),
    }
}
