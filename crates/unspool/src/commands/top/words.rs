//! A spool in words, for the screen and for whoever has none.

use std::fmt::Write as _;

use unspool_spool::{Link, Pauses, RelayState, TaskState};

use super::look::{Counts, SpoolLook};
use super::state::{History, workers_of};
use crate::display::{self, Paint, clean, paint, span};

/// Who runs it.
pub(super) fn daemons(spool: &SpoolLook, now_ns: i64) -> String {
    if let (true, Some((relay, lives))) = (spool.daemons.is_empty(), &spool.relay) {
        return forwarder(relay, *lives);
    }
    if spool.daemons.is_empty() {
        // Of what cannot be looked at nobody knows who runs it.
        let is_known = spool.counts.is_some();
        return if is_known { "no daemon runs here" } else { "cannot be looked at" }.to_owned();
    }
    let each = spool.daemons.iter().map(|daemon| match &daemon.status {
        Err(error) => format!("daemon {} does not answer: {}", daemon.pid, clean(error)),
        Ok(status) => {
            let up_s = (now_ns / 1_000_000_000).saturating_sub(status.started_at).max(0);
            let does = match (status.stopping, status.importing) {
                (true, _) => ", stopping",
                (_, true) => ", importing",
                _ => "",
            };
            format!("daemon {} for {}{does}", daemon.pid, span(up_s as f64))
        }
    });
    let workers = workers_of(spool);
    let all = (workers.busy + workers.idle + workers.other) as u64;
    let mut text = each.collect::<Vec<_>>().join("; ");
    if spool.told().next().is_some() {
        // Writing into a String cannot fail.
        let _ = write!(text, ", {}, {} busy", display::count(all, "worker"), workers.busy);
    }
    text
}

/// Who sends on what lies in an outbox.
fn forwarder(relay: &RelayState, lives: bool) -> String {
    let RelayState { address, pid, link, error, .. } = relay;
    let (address, error) = (clean(address), clean(error));
    match link {
        _ if !lives => format!("no daemon sends them on to {address}"),
        Link::Waiting => format!("daemon {pid} sends nothing on to {address}: {error}"),
        Link::Connected | Link::Idle => format!("daemon {pid} sends them on to {address}"),
    }
}

/// What is said where its tasks cannot be counted.
pub(super) fn unknown(spool: &SpoolLook) -> Option<&'static str> {
    spool.counts.is_none().then_some("its tasks cannot be counted")
}

/// Where its tasks stand: each number with its word and its colour; nothing if that is not known.
pub(super) fn counts(spool: &SpoolLook) -> Vec<(u64, &'static str, Paint)> {
    let Some(Counts { due, running, delayed, paused, held, unseen, .. }) = spool.counts else {
        return Vec::new();
    };
    let (dead, corrupt) = (spool.dead.unwrap_or_default(), spool.corrupt.unwrap_or_default());
    let always = [
        (due, "due", Paint::Plain),
        (running, "running", paint(TaskState::Running)),
        (delayed, "delayed", paint(TaskState::Delayed)),
    ];
    let rest = [
        (paused, "paused", Paint::Warning),
        (held, "held", Paint::Warning),
        (unseen, "not looked at", Paint::Quiet),
        (dead, "dead", paint(TaskState::Dead)),
        (corrupt, "corrupt", paint(TaskState::Corrupt)),
    ];
    always.into_iter().chain(rest.into_iter().filter(|(count, ..)| *count > 0)).collect()
}

/// How long the oldest task has been due.
pub(super) fn oldest(spool: &SpoolLook) -> Option<String> {
    let ms = spool.counts?.oldest_due_ms?;
    Some(format!("the oldest due for {}", span(ms as f64 / 1e3)))
}

/// How much is done.
pub(super) fn rate(history: &History) -> Option<String> {
    let rate = history.rate?;
    let failed =
        if rate.failed > 0.0 { format!(", {:.1} failed", rate.failed) } else { String::new() };
    Some(format!("{:.1} done{failed} a second, over {:.1} s", rate.done, rate.span_s))
}

/// What is paused, or wrong.
pub(super) fn remarks(spool: &SpoolLook) -> Vec<(String, Paint)> {
    let paused = spool.pauses.iter().flat_map(Pauses::iter).map(|pause| {
        let what = clean(&pause.scope.describe());
        (format!("{what} is {}", display::paused(pause)), Paint::Warning)
    });
    let imports = spool.told().filter_map(|status| {
        let failed = status.import_failure.as_ref()?;
        let target = failed.failures.first().map(|failure| clean(&failure.target));
        let target = target.filter(|target| !target.is_empty());
        let what =
            target.map_or_else(|| "the application".to_owned(), |target| format!("`{target}`"));
        Some((format!("{what} cannot be imported: `unspool logs` has the traceback"), Paint::Bad))
    });
    let problem = spool.problem.iter().map(|problem| (clean(problem), Paint::Bad));
    problem.chain(imports).chain(paused).collect()
}
