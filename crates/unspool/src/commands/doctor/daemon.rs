//! Who runs a spool, and whether each daemon can: all of them are asked.

use std::io;
use std::path::Path;
use std::time::Duration;

use unspool_spool::{Asked, Shelves, SpoolView, Whereabouts, ask_documents, list, read_pauses};
use unspool_supervisor::snapshot::{ImportFailed, StatusSnapshot};
use unspool_sys::clock;

use super::typed::Typed;
use super::{Finding, Findings, Level, many};
use crate::display;

/// A daemon that lives answers at once.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// A task that has been due for so long should have run.
const DUE_NS_MAX: i64 = 60_000_000_000;

pub(super) fn look(path: &Path, config: Option<&Path>) -> Findings {
    let mut found = Findings::of("daemon");
    let Ok(view) = SpoolView::open(path) else { return found };
    let typed = Typed { spool: view.path(), config };
    let shown = view.path().display();
    let overdue = overdue(&view);
    let answers = ask_documents(view.path(), Asked::Status, ANSWER_WAIT);
    if answers.is_empty() {
        let start = typed.start();
        if overdue == 0 {
            found.note(format!("no daemon of this machine runs {shown}; {start} starts one"));
        } else {
            found.problem(
                format!(
                    "no daemon of this machine runs {shown}, and {} should have run",
                    display::count(overdue as u64, "task")
                ),
                format!("start one: {start}"),
            );
        }
        return found;
    }
    for (pid, answer) in answers {
        match answer.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
            Ok(status) => look_at_status(&mut found, pid, &status, &typed),
            Err(error) => tell_silent(&mut found, pid, &error, &typed),
        }
    }
    if overdue > 0 {
        found.warning(
            format!(
                "{} been due for more than a minute in {shown}",
                many(overdue, "task", "has", "have")
            ),
            format!(
                "{} says of each what keeps it, {} what runs; more workers may help",
                typed.on_task("why"),
                typed.on_spool("top", "")
            ),
        );
    }
    found
}

fn look_at_status(found: &mut Findings, pid: u32, status: &StatusSnapshot, typed: &Typed<'_>) {
    let shown = typed.spool.display();
    let mut is_fine = true;
    if let Some(failed) = &status.import_failure {
        is_fine = false;
        found.found.push(import_failed(pid, failed));
    }
    if status.stopping {
        is_fine = false;
        found.problem(
            format!("process {pid} stops: it starts no task of {shown} any more"),
            format!(
                "{} shows what it waits for; then start it again: {}",
                typed.on_spool("ls", "--state running"),
                typed.start()
            ),
        );
    }
    if is_fine {
        found.fine(format!("process {pid} runs {shown}, and answers"));
    }
}

fn import_failed(pid: u32, failed: &ImportFailed) -> Finding {
    let first = failed.failures.first();
    let target = first.map(|failure| failure.target.as_str()).unwrap_or_default();
    let traceback = first.map(|failure| failure.traceback.as_str()).unwrap_or_default();
    let last = traceback.trim_end().lines().last().unwrap_or_default();
    let what = match target {
        "" => "the application".to_owned(),
        target => format!("`{target}`"),
    };
    let then = if failed.given_up { ", and goes on with what it imported before" } else { "" };
    let at = display::time(failed.at.saturating_mul(1_000_000_000));
    Finding {
        level: Level::Problem,
        what: format!("process {pid} could not import {what} at {at}{then}: {last}"),
        cure: Some(format!("mend what the traceback shows, then reload it: `kill -HUP {pid}`")),
        detail: Some(traceback.to_owned()),
    }
}

fn tell_silent(found: &mut Findings, pid: u32, error: &io::Error, typed: &Typed<'_>) {
    let shown = typed.spool.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => found.warning(
            format!("process {pid} runs {shown}, and may not be asked by you: {error}"),
            "run this as the user of the daemon, or as root",
        ),
        // Its folder is there, and its socket could not be made.
        io::ErrorKind::NotFound => found.warning(
            format!(
                "process {pid} runs {shown}, and cannot be asked: it has no socket there, as on file systems \
                 without them (sshfs)"
            ),
            "tasks do not need it; its log says more, and to cancel what runs takes a spool that has sockets",
        ),
        io::ErrorKind::TimedOut => found.problem(
            format!(
                "process {pid} runs {shown}, and does not answer within {} s",
                ANSWER_WAIT.as_secs()
            ),
            format!(
                "`grep State /proc/{pid}/status` shows whether it is stopped (T: `kill -CONT {pid}` lets it go on) \
                 or waits for a disk (D); otherwise its log may say more"
            ),
        ),
        _ => found.problem(
            format!("process {pid} runs {shown}, and does not say how it is: {error}"),
            format!("look at its log; {} may show more", typed.on_spool("logs", "")),
        ),
    }
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
