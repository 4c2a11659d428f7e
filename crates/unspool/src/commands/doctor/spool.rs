//! A spool: its directory, what lies in it, and who runs it.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use unspool_config::Config;
use unspool_spool::{
    FsckOptions, Kept, Shelves, SpoolView, Whereabouts, ask_daemon, fsck, list, live_daemon,
    read_pauses,
};
use unspool_sys::file::stat_file;
use unspool_sys::folder::Stat;
use unspool_sys::space::{FileSystem, file_system, space};
use unspool_sys::{clock, host};

use super::Findings;
use crate::{bounds, display};

/// A disk with less is nearly full.
const BYTES_LEFT_MIN: u64 = 256 << 20;
/// A daemon that lives answers at once.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// A task that has been due for so long should have run.
const DUE_NS_MAX: i64 = 60_000_000_000;
/// How long a damaged file must not have changed.
const SETTLE_NS: i64 = 60_000_000_000;

pub(super) fn look(path: &Path, config: Option<&Config>) -> Findings {
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
                format!("who runs it has to own it: `chown -R {uid} {shown}` for uid {uid}"),
            );
            return found;
        }
    };
    match stat_file(view.top().as_fd()) {
        Ok(stat) => look_at_directory(&mut found, &view, &stat),
        Err(error) => found.error(&error),
    }
    look_at_disk(&mut found, &view);
    look_at_floor(&mut found, &view, config);
    look_at_pauses(&mut found, &view);
    look_at_tasks(&mut found, &view);
    found
}

fn look_at_directory(found: &mut Findings, view: &SpoolView, stat: &Stat) {
    let (shown, uid, mode) = (view.path().display(), host::uid(), stat.mode & 0o7777);
    if let Err(error) = view.top().check_writable() {
        found.problem(
            format!("{shown} cannot be written by uid {uid}: {error}"),
            format!(
                "`chown -R {uid} {shown}`, or run unspool and the application as uid {}",
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
            format!("`chmod 700 {shown}`"),
        );
    }
}

fn look_at_disk(found: &mut Findings, view: &SpoolView) {
    let shown = view.path().display();
    match file_system(view.top().as_fd()) {
        Ok(FileSystem::Network(kind)) => found.warning(
            format!("{shown} is on {kind}, which tells of no changes from elsewhere"),
            "tasks of other machines are found by scans alone, every 30 s or later, and locks must work \
             across them: run the daemon where tasks are submitted, or use a local disk",
        ),
        Ok(FileSystem::Memory) => found.warning(
            format!("{shown} is in memory: tasks are gone with the machine, whatever their durability"),
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
fn look_at_pauses(found: &mut Findings, view: &SpoolView) {
    let shown = view.path().display();
    match read_pauses(view) {
        Ok(pauses) => {
            for pause in pauses.iter() {
                let what = pause.scope.describe();
                found.warning(
                    format!("{what} of {shown} is {}", display::paused(pause)),
                    match (pause.scope.kind(), pause.scope.name()) {
                        ("function", Some(name)) => format!("`unspool resume --func {name}`"),
                        ("priority", Some(name)) => format!("`unspool resume --priority {name}`"),
                        _ => "`unspool resume`".to_owned(),
                    },
                );
            }
        }
        Err(error) => found.error(&error),
    }
}

fn look_at_tasks(found: &mut Findings, view: &SpoolView) {
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
            "`unspool ls --state dead` lists them with what they failed with, `unspool replay` runs one where \
             you can watch it, `unspool retry` tries it again",
        ),
    }
    match count(Kept::Corrupt) {
        0 => {}
        corrupt => found.warning(
            format!(
                "{} no whole task, or not signed as it has to be, in {shown}",
                many(corrupt, "file", "is", "are")
            ),
            "`unspool ls --state corrupt` lists them, `unspool show` says what is wrong; nothing there is ever \
             run or deleted",
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
            format!("`unspool fsck --spooler {shown}` names them, `--repair` mends them"),
        ),
        Err(error) => found.error(&error),
    }
}

/// Who runs a spool, and whether it seems to.
pub(super) fn look_at_daemon(path: &Path, config: Option<&Config>) -> Findings {
    let mut found = Findings::of("daemon");
    let Ok(view) = SpoolView::open(path) else { return found };
    let shown = view.path().display();
    let overdue = overdue(&view);
    let Some(pid) = live_daemon(view.path()) else {
        let command = match config.and_then(|config| config.config_files.first()) {
            Some(file) => format!("`unspool run {}`", file.display()),
            None => format!("`unspool run --spooler {shown} --spooler-import MODULE`"),
        };
        if overdue == 0 {
            found.note(format!("no daemon of this machine runs {shown}; {command} starts one"));
        } else {
            found.problem(
                format!(
                    "no daemon of this machine runs {shown}, and {} should have run",
                    display::count(overdue as u64, "task")
                ),
                format!("start one: {command}"),
            );
        }
        return found;
    };
    // A request without meaning: it is answered, and does nothing.
    match ask_daemon(view.path(), b"{}", ANSWER_WAIT) {
        Ok(_) => found.fine(format!("process {pid} runs {shown}, and answers")),
        Err(error) => found.problem(
            format!("process {pid} runs {shown}, and does not answer: {error}"),
            "look at its log; if it says nothing, `kill -USR1` it and look again",
        ),
    }
    if overdue > 0 {
        found.warning(
            format!(
                "{} been due for more than a minute in {shown}",
                many(overdue, "task", "has", "have")
            ),
            "`unspool why` says of each what keeps it, `unspool top` what runs; more workers may help",
        );
    }
    found
}

/// `1 task was`, `2 tasks were`.
fn many(count: usize, what: &str, one: &str, more: &str) -> String {
    format!("{} {}", display::count(count as u64, what), if count == 1 { one } else { more })
}

/// Tasks that should have run. Those of a paused function count: no file is opened for this.
fn overdue(view: &SpoolView) -> usize {
    let since_ns = clock::now_ns() - DUE_NS_MAX;
    let pauses = read_pauses(view).unwrap_or_default();
    let pending = list(view, Shelves::PENDING).filter_map(Result::ok);
    let late = pending.filter(|task| {
        matches!(task.whereabouts(), Whereabouts::Pending(place)
            if pauses.of_task(place.priority.as_ref(), None).next().is_none())
            && matches!(task.stat(), Ok(Some(stat)) if stat.mtime_ns < since_ns && stat.ctime_ns < since_ns)
            && !task.is_held().unwrap_or(true)
    });
    late.count()
}
