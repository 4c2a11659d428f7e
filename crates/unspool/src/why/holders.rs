//! Tasks that somebody has: a worker of a daemon, or a process that takes no requests.

use unspool_spool::Runner;
use unspool_supervisor::explanation::{Holding, KnownTask, Standing};
use unspool_sys::lock::Holder;
use unspool_sys::{clock, host, process};

use super::{DaemonView, Facts, Reason};
use crate::display;

/// Why a task does not wait: somebody has it.
pub(super) fn reason(facts: &Facts) -> Option<Reason> {
    let claimed = facts.known().find(|(_, task)| task.standing == Standing::Claimed);
    match (claimed, facts.holder) {
        (Some((daemon, task)), _) => Some(claimed_by(daemon, task)),
        (None, Holder::Process(pid)) => Some(held_by(pid)),
        (None, Holder::Unnamed) => Some(held_by_unknown(facts)),
        (None, Holder::Nobody) => None,
    }
}

fn claimed_by(daemon: &DaemonView, task: &KnownTask) -> Reason {
    if task.undeleted {
        let text = "It is done, and its file cannot be deleted: the daemon tries again each second and \
                    keeps it from running again. The log says why.";
        return Reason::new("done_undeleted", text).with("daemon", daemon.pid);
    }
    let Some(Holding { pid, running_ms, behind, .. }) = task.worker else {
        let text = format!("Daemon {} has claimed it just now.", daemon.pid);
        return Reason::new("claimed", text).with("daemon", daemon.pid);
    };
    let reason = match running_ms {
        None if !behind => {
            let text = format!(
                "Daemon {} has claimed it and handed it to worker {pid}, which begins in a moment.",
                daemon.pid
            );
            Reason::new("claimed", text)
        }
        None => {
            let text = format!(
                "It was handed to worker {pid} ahead of its turn, and has not begun: it runs next there, \
                 or is taken back for another worker.",
            );
            Reason::new("handed_out", text)
        }
        Some(ms) => {
            let since = display::span(ms as f64 / 1e3);
            let (code, text) = if task.cancelled {
                let text = format!(
                    "Somebody has cancelled it: worker {pid}, which has run it for {since}, was told to \
                     end it, and is killed if it does not."
                );
                ("cancelled", text)
            } else {
                ("running", format!("It runs: worker {pid} has run it for {since}."))
            };
            Reason::new(code, text).with("running_s", ms as f64 / 1e3)
        }
    };
    reason.with("pid", pid).with("daemon", daemon.pid).with("host", hostname())
}

fn held_by(pid: u32) -> Reason {
    let name = process::executable(pid);
    let age = process::age_ns(pid).map(|age_ns| age_ns as f64 / 1e9);
    let host = hostname();
    let named = name.as_ref().map(|name| format!(" (`{name}`)")).unwrap_or_default();
    let started =
        age.map(|age| format!(", for {} at most", display::span(age))).unwrap_or_default();
    // A machine may have no name.
    let on = if host.is_empty() { String::new() } else { format!(" on {host}") };
    let text = format!(
        "It is held by process {pid}{named}{on}{started}: a uWSGI or another program that takes no \
         requests has its file locked, and runs it, or gives it back when it ends."
    );
    Reason::new("held", text)
        .with("pid", pid)
        .with("program", name)
        .with("host", host)
        .with("held_s_max", age)
}

/// The lock is of a kind that names nobody.
fn held_by_unknown(facts: &Facts) -> Reason {
    if let Some(runner) = facts.runner {
        return noted(runner, facts.daemons.is_empty());
    }
    let deaf: Vec<u32> =
        facts.daemons.iter().filter(|daemon| daemon.explanation.is_none()).map(|d| d.pid).collect();
    let text = if deaf.is_empty() {
        "It is held by a process that cannot be named: a worker whose daemon is gone, which finishes it, \
         or a daemon on another machine."
            .to_owned()
    } else {
        format!(
            "It is held, most likely by a worker of daemon {}, which does not say: ask as its user.",
            deaf[0]
        )
    };
    Reason::new("held", text).with("pid", None::<u32>).with("silent_daemons", deaf)
}

/// A worker runs it, and no daemon says so.
fn noted(Runner { pid, started_ns }: Runner, is_alone: bool) -> Reason {
    let ran_s = clock::monotonic_ns().saturating_sub(started_ns) as f64 / 1e9;
    let then = if is_alone {
        "its daemon is gone: it ends the task and leaves"
    } else {
        "its daemon does not say so"
    };
    let since = display::span(ran_s);
    Reason::new("running", format!("It runs: worker {pid} has run it for {since}; {then}."))
        .with("running_s", ran_s)
        .with("pid", pid)
        .with("daemon", None::<u32>)
        .with("host", hostname())
}

fn hostname() -> String {
    String::from_utf8_lossy(&host::hostname()).into_owned()
}
