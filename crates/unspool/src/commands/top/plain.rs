//! A look without a screen: as text, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::look::SpoolLook;
use super::state::{State, running_in, workers_of};
use super::words;
use crate::display::{clean, json_line, pause_object, span};

/// What one look saw.
pub(super) fn text(state: &State) -> String {
    let mut text = String::new();
    for (at, (spool, history)) in state.look.spools.iter().zip(&state.histories).enumerate() {
        let path = clean(&spool.path.to_string_lossy());
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{path}  {}", words::daemons(spool, state.look.at_ns));
        let counts = words::counts(spool).into_iter();
        let counts = counts.map(|(count, word, _)| format!("{count} {word}"));
        let unknown = words::unknown(spool).map(str::to_owned);
        let line = unknown.into_iter().chain(counts);
        let line = line.chain(words::oldest(spool)).chain(words::rate(history));
        let _ = writeln!(text, "{}", line.collect::<Vec<_>>().join("  "));
        for (remark, _) in words::remarks(spool) {
            let _ = writeln!(text, "{remark}");
        }
        for row in running_in(at, spool) {
            let _ = writeln!(
                text,
                "running  {} for {}, worker {}, {}",
                clean(&row.function),
                span(row.since_ms as f64 / 1e3),
                row.pid,
                clean(&row.task)
            );
        }
    }
    text
}

/// The same as a line of JSON.
pub(super) fn object(state: &State) -> String {
    let spools = state.look.spools.iter().zip(&state.histories).enumerate();
    let spools = spools.map(|(at, (spool, history))| {
        let mut object = json_of(at, spool);
        object["rate"] = history.rate.map_or(Value::Null, |rate| {
            json!({
                "done_per_s": rate.done,
                "failed_per_s": rate.failed,
                "span_s": rate.span_s,
            })
        });
        object
    });
    let at = state.look.at_ns as f64 / 1e9;
    json_line(&json!({ "at": at, "spools": spools.collect::<Vec<_>>() }))
}

fn json_of(at: usize, spool: &SpoolLook) -> Value {
    let counts = spool.counts.map(|counts| {
        json!({
            "due": counts.due,
            "running": counts.running,
            "delayed": counts.delayed,
            "paused": counts.paused,
            "held": counts.held,
            "unseen": counts.unseen,
            "oldest_due_s": counts.oldest_due_ms.map(|ms| ms as f64 / 1e3),
        })
    });
    let daemons = spool.daemons.iter().map(|daemon| match &daemon.status {
        Ok(status) => json!({ "pid": daemon.pid, "started_at": status.started_at }),
        Err(error) => json!({ "pid": daemon.pid, "error": error }),
    });
    let running = running_in(at, spool).map(|row| {
        json!({
            "task": row.task,
            "function": row.function,
            "pid": row.pid,
            "running_s": row.since_ms as f64 / 1e3,
            "behind": row.behind,
        })
    });
    let relay = spool.relay.as_ref().map(|(relay, lives)| {
        json!({
            "address": relay.address, "pid": lives.then_some(relay.pid), "link": relay.link,
            "error": relay.error, "sent": relay.sent,
        })
    });
    let workers = workers_of(spool);
    let paused = spool.pauses.as_ref();
    let paused = paused.map(|pauses| pauses.iter().map(pause_object).collect::<Vec<_>>());
    json!({
        "spool": spool.path.to_string_lossy(),
        "daemons": daemons.collect::<Vec<_>>(),
        "relay": relay,
        "tasks": counts,
        "dead": spool.dead,
        "corrupt": spool.corrupt,
        "workers": { "busy": workers.busy, "idle": workers.idle, "other": workers.other },
        "running": running.collect::<Vec<_>>(),
        "paused": paused,
        "problem": spool.problem,
    })
}
