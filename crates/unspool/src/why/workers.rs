//! What keeps a task that could run: no daemon, an application that cannot be imported or does not know
//! the function, workers that are busy, tasks before it.

use std::cmp::Reverse;

use serde_json::{Value, json};
use unspool_config::without_secrets;
use unspool_supervisor::explanation::{Busy, Dispatch, PutOff, Takers};
use unspool_supervisor::snapshot::{FUNCTIONS_TOLD, StatusSnapshot};

use super::{DaemonView, Facts, Reason};
use crate::display;

/// Functions that are named.
const FUNCTIONS_SHOWN: usize = 12;
/// A task that takes so many times as long as others is none of those.
const LONGER: f64 = 3.0;
/// Busy workers that are named.
const BUSY_SHOWN: usize = 3;
/// A name that is less like another one is not taken for a slip.
const LIKENESS_MIN: f64 = 0.6;

/// `waits`: something else keeps it; then only what would keep it after that is told.
pub(super) fn reasons(facts: &Facts, waits: bool) -> Vec<Reason> {
    if facts.daemons.is_empty() {
        let text = "No daemon on this machine runs the spool: start one (`unspool run`).";
        return vec![Reason::new("no_daemon", text)];
    }
    let mut told = facts.daemons.iter().filter_map(|daemon| {
        let status = daemon.status.as_ref().ok()?;
        Some((daemon, status, unable(facts, daemon, status)))
    });
    let Some(first) = told.next() else {
        let mute = |daemon: &DaemonView| Some(silent(daemon, daemon.status.as_ref().err()?));
        return facts.daemons.iter().find_map(mute).into_iter().collect();
    };
    // Any of them may run it: one that can counts more than one that cannot.
    let (daemon, status, reasons) = if first.2.is_empty() {
        first
    } else {
        told.find(|(.., reasons)| reasons.is_empty()).unwrap_or(first)
    };
    if waits || !reasons.is_empty() {
        return reasons;
    }
    match together(facts, daemon) {
        Some(together) => dispatch(facts, daemon, status, &together),
        None => vec![silent(daemon, "its spool's thread does not answer")],
    }
}

/// What keeps a daemon from running it at all.
fn unable(facts: &Facts, daemon: &DaemonView, status: &StatusSnapshot) -> Vec<Reason> {
    let mut reasons = application(facts, daemon, status);
    if status.stopping {
        let text = format!("Daemon {} stops: it starts no task any more.", daemon.pid);
        reasons.push(Reason::new("daemon_stopping", text).with("daemon", daemon.pid));
    }
    reasons
}

/// What holds in a daemon, with the workers and the pace of the others that run the spool.
fn together(facts: &Facts, daemon: &DaemonView) -> Option<Dispatch> {
    let mut all = daemon.explanation.as_ref()?.dispatch.clone();
    let others = facts.daemons.iter().filter(|other| other.pid != daemon.pid);
    for other in others.filter_map(|other| other.explanation.as_ref()) {
        let Dispatch { rate_per_s, workers, .. } = &other.dispatch;
        all.rate_per_s = match (all.rate_per_s, rate_per_s) {
            (Some(rate), Some(other)) => Some(rate + other),
            (rate, other) => rate.or(*other),
        };
        let sum = &mut all.workers;
        sum.all += workers.all;
        sum.starting += workers.starting;
        sum.leaving += workers.leaving;
        sum.idle += workers.idle;
        sum.ticking += workers.ticking;
        sum.busy_count += workers.busy_count;
        sum.busy.extend(workers.busy.iter().cloned());
        sum.busy.sort_by_key(|busy| Reverse(busy.since_ms));
    }
    Some(all)
}

fn silent(daemon: &DaemonView, error: &str) -> Reason {
    let text = format!(
        "Daemon {} runs the spool and does not say what it does: {error}. Ask as its user; if it hangs, so \
         does the file system of the spool, perhaps.",
        daemon.pid
    );
    Reason::new("daemon_silent", text).with("daemon", daemon.pid).with("problem", error)
}

/// What is wrong with the application, as far as it concerns the task.
fn application(facts: &Facts, daemon: &DaemonView, status: &StatusSnapshot) -> Vec<Reason> {
    let unknown = unknown_function(facts, daemon, status);
    let has_workers = status.spool.workers.iter().any(|worker| worker.ready);
    let mut reasons = Vec::new();
    if let Some(failed) = &status.import_failure
        && (unknown.is_some() || !has_workers)
    {
        let first = failed.failures.first();
        let target = first.map(|failure| failure.target.as_str()).unwrap_or_default();
        let traceback = first.map(|failure| without_secrets(&failure.traceback));
        let traceback = traceback.as_deref().unwrap_or_default();
        let last = traceback.trim_end().lines().last().unwrap_or_default();
        let what = match target {
            "" => "the application".to_owned(),
            target => format!("`{target}`"),
        };
        let then =
            if failed.given_up { "; the workers go on with what was imported before" } else { "" };
        let at = display::time(failed.at.saturating_mul(1_000_000_000));
        let text = format!(
            "Daemon {} runs, and cannot import {what} (at {at}){then}: {last}. Mend it, and reload the \
             daemon.",
            daemon.pid
        );
        let reason = Reason::new("import_failed", text)
            .with("daemon", daemon.pid)
            .with("module", target)
            .with("given_up_reload", failed.given_up)
            .with("traceback", traceback);
        reasons.push(reason.detail(traceback));
    }
    reasons.extend(unknown);
    reasons
}

/// Its function is not known to the application.
fn unknown_function(facts: &Facts, daemon: &DaemonView, status: &StatusSnapshot) -> Option<Reason> {
    let was_unknown = daemon.task().is_some_and(|task| task.put_off == PutOff::Unknown);
    let functions = &status.functions;
    let function = facts.function();
    let are_all = functions.len() < FUNCTIONS_TOLD && status.generation > 0;
    let is_missing = |name: &String| are_all && !functions.is_empty() && !functions.contains(name);
    if !was_unknown && !function.as_ref().is_some_and(is_missing) {
        return None;
    }
    let name = function.clone().map_or_else(
        || "It names no function, and no handler of the application takes such tasks".to_owned(),
        |name| format!("Its function `{name}` is not registered by the application"),
    );
    let near = function.as_deref().and_then(|name| nearest(name, functions));
    let near_text = near.map(|near| format!(" Is `{near}` meant?")).unwrap_or_default();
    let text = format!("{name}, which registers {}.{near_text}", registered(functions));
    let again = daemon.task().filter(|_| was_unknown).map(|task| task.due_at);
    Some(
        Reason::new("function_unknown", text)
            .with("function", function)
            .with("registered", functions.clone())
            .with("nearest", near)
            .with("again_at", again),
    )
}

fn registered(functions: &[String]) -> String {
    if functions.is_empty() {
        return "none".to_owned();
    }
    let shown = functions.iter().take(FUNCTIONS_SHOWN).map(|name| format!("`{name}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match functions.len().saturating_sub(FUNCTIONS_SHOWN) {
        0 => shown,
        more => format!("{shown} and {}", display::count(more as u64, "other")),
    }
}

fn nearest<'a>(name: &str, functions: &'a [String]) -> Option<&'a str> {
    let likeness = |other: &&String| {
        let (a, b) = (name.to_lowercase(), other.to_lowercase());
        // The module in front of it may be the slip.
        let tail = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
        strsim::normalized_damerau_levenshtein(&a, &b).max(if tail(&a) == tail(&b) {
            0.9
        } else {
            0.0
        })
    };
    let best = functions.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= LIKENESS_MIN).then_some(best.as_str())
}

/// What keeps the daemon from starting it now.
fn dispatch(
    facts: &Facts,
    daemon: &DaemonView,
    status: &StatusSnapshot,
    dispatch: &Dispatch,
) -> Vec<Reason> {
    let pid = daemon.pid;
    let mut reasons = held_up(facts, daemon, dispatch);
    let takers = &dispatch.workers;
    if takers.busy_count + takers.idle + takers.ticking == 0 {
        reasons.push(no_worker(status, takers).with("daemon", pid));
    } else if takers.idle == 0 {
        reasons.push(busy(takers).with("daemon", pid));
    }
    reasons.extend(turn(facts, dispatch));
    if reasons.is_empty() {
        let text = "Nothing keeps it: it starts in a moment.";
        reasons.push(Reason::new("about_to_run", text).with("daemon", pid));
    }
    reasons
}

/// Why nothing of its folder is claimed.
fn held_up(facts: &Facts, daemon: &DaemonView, dispatch: &Dispatch) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if dispatch.starting {
        let text =
            "The daemon lists the spool for the first time, so that tasks run in their order.";
        reasons.push(Reason::new("first_scan", text));
    }
    if dispatch.undeleted_stops {
        let text = format!(
            "No task of its folder is started: {} that are done cannot be deleted, and would run again after \
             a restart. The daemon's log says why.",
            display::count(dispatch.undeleted as u64, "task")
        );
        reasons.push(Reason::new("undeleted_stop", text).with("undeleted", dispatch.undeleted));
    }
    if let Some(rest_ms) = dispatch.claims_rest_ms {
        let error = dispatch.claim_error.as_deref().unwrap_or("the system refuses to open files");
        let text = format!(
            "No task is started for {}, since the last one could not be opened: {error}.",
            display::span(rest_ms as f64 / 1e3)
        );
        reasons.push(Reason::new("claims_failed", text).with("problem", error));
    }
    if daemon.task().is_none() && facts.daemons.iter().all(|daemon| daemon.task().is_none()) {
        let text = if dispatch.left_out {
            "There are more tasks than the daemon keeps in memory (`spooler-max-known`): this one is \
             taken in when those before it have run."
        } else {
            "The daemon has not met its file yet: a scan of the spool finds it."
        };
        let code = if dispatch.left_out { "left_out" } else { "not_seen" };
        reasons.push(Reason::new(code, text).with("scanning", dispatch.scanning));
    } else if dispatch.waits_for_scan {
        let text = "Tasks before it are not in the daemon's memory (`spooler-max-known`): a scan of the \
                    spool finds them first.";
        reasons.push(Reason::new("left_out", text).with("scanning", dispatch.scanning));
    }
    reasons
}

fn no_worker(status: &StatusSnapshot, takers: &Takers) -> Reason {
    let why = match (status.importing, takers.starting, takers.leaving) {
        (true, ..) => "the application is being imported",
        (_, 1.., _) => "they are being started",
        (_, _, 1..) => "those that are left finish what they have and end",
        _ => {
            "none is there that may run tasks of its folder; one is started when there is something to do"
        }
    };
    let text = format!("No worker is ready: {why}.");
    Reason::new("no_worker", text)
        .with("importing", status.importing)
        .with("starting", takers.starting)
        .with("leaving", takers.leaving)
}

fn busy(takers: &Takers) -> Reason {
    let shown = takers.busy.iter().take(BUSY_SHOWN).map(|busy| {
        let since = display::span(busy.since_ms as f64 / 1e3);
        format!("{} has run {} for {since}", busy.pid, function_of(busy))
    });
    let shown: Vec<String> = shown.collect();
    let rest = takers.busy_count.saturating_sub(shown.len()) as u64;
    let mut text = match takers.busy_count {
        1 => "The worker that may run it is busy".to_owned(),
        2 => "Both workers that may run it are busy".to_owned(),
        count => format!("All {count} workers that may run it are busy"),
    };
    if !shown.is_empty() {
        text = format!("{text}: {}", shown.join(", "));
    }
    if rest > 0 && !shown.is_empty() {
        text = format!("{text}, and {} more", display::grouped(rest));
    }
    if takers.busy_count == 0 {
        "Its workers run handlers of signals".clone_into(&mut text);
    }
    let workers: Vec<Value> = takers
        .busy
        .iter()
        .map(|busy| {
            json!({
                "pid": busy.pid,
                "task": busy.task,
                "function": busy.function,
                "running_s": busy.since_ms as f64 / 1e3,
            })
        })
        .collect();
    Reason::new("workers_busy", format!("{text}."))
        .with("busy", takers.busy_count)
        .with("workers", workers)
}

fn function_of(busy: &Busy) -> String {
    if busy.function == "-" { "a task".to_owned() } else { format!("`{}`", busy.function) }
}

/// How many tasks are before it.
fn turn(facts: &Facts, dispatch: &Dispatch) -> Option<Reason> {
    let places = facts.known().filter_map(|(_, task)| task.position);
    let mut place = places.min_by_key(|place| place.before)?;
    // What one daemon runs is due for another one until that meets the lock.
    place.exact &= facts.daemons.len() == 1;
    if place.before == 0 {
        return None;
    }
    let is_stuck = dispatch.rate_per_s.is_some_and(|rate| takes_longer(&dispatch.workers, rate));
    let rate = dispatch.rate_per_s.filter(|_| !is_stuck);
    let eta = rate.map(|rate| place.before as f64 / rate);
    let at = match (rate, eta) {
        (Some(rate), Some(eta)) => {
            format!(
                " At {} per second, as lately, that is about {}.",
                rounded(rate),
                display::span(eta)
            )
        }
        _ if is_stuck => {
            " What runs now takes longer than what ran lately, so nobody can say how long \
                           that takes."
                .to_owned()
        }
        _ => " None has finished lately, so nobody can say how long that takes.".to_owned(),
    };
    let about = if place.exact { "" } else { "about " };
    let position = display::grouped(place.before + 1);
    let text = format!("It has position {about}{position} among the due tasks.{at}");
    Some(
        Reason::new("waits_its_turn", text)
            .with("position", place.before + 1)
            .with("before", place.before)
            .with("before_in_folder", place.before_in_folder)
            .with("exact", place.exact)
            .with("rate_per_s", rate)
            .with("eta_s", eta),
    )
}

/// Whether each worker is busy with a task that takes much longer than those did whose rate is known.
fn takes_longer(takers: &Takers, rate: f64) -> bool {
    let Some(shortest) = takers.busy.last() else { return false };
    let usual_s = takers.busy_count as f64 / rate;
    takers.idle == 0 && shortest.since_ms as f64 / 1e3 > LONGER * usual_s + 1.0
}

fn rounded(rate: f64) -> String {
    if rate >= 10.0 { display::grouped(rate.round() as u64) } else { format!("{rate:.1}") }
}
