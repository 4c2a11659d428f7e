//! What the record of attempts tells of a task that ran late, or began more than once.
//!
//! A task that is done has no record any more: this is of those that wait for another attempt, run, or
//! were given up.

use serde_json::{Value, json};
use unspool_spool::{Attempt, Ending};

use super::{Facts, Reason};
use crate::display;

/// A task that begins later than this after its time ran late.
const LATE_S_MIN: f64 = 10.0;
/// Attempts that are told one by one.
const SHOWN_MAX: usize = 5;

pub(super) fn reasons(facts: &Facts) -> Vec<Reason> {
    [late(facts), twice(facts)].into_iter().flatten().collect()
}

/// When the first attempt began, if somebody knows.
fn began_at(attempt: &Attempt) -> Option<f64> {
    attempt.duration.map(|duration| attempt.at - duration)
}

fn late(facts: &Facts) -> Option<Reason> {
    let first = facts.attempts.iter().find(|attempt| attempt.outcome != Ending::Expired)?;
    let began = began_at(first)?;
    let submitted = facts.summary.submitted_ns as f64 / 1e9;
    let wanted = facts.wanted_ns.map_or(submitted, |at_ns| (at_ns as f64 / 1e9).max(submitted));
    let late = began - wanted;
    if late < LATE_S_MIN {
        return None;
    }
    let what = if wanted > submitted { "it was due" } else { "it was submitted" };
    let text = format!(
        "It ran late: its first attempt began at {}, {} after {what}. What kept it then stands in the \
         daemon's log.",
        display::time((began * 1e9) as i64),
        display::span(late)
    );
    Some(
        Reason::new("ran_late", text)
            .with("wanted_at", wanted)
            .with("began_at", began)
            .with("late_s", late),
    )
}

/// Attempts that began and of which nobody can say how far they came.
fn twice(facts: &Facts) -> Option<Reason> {
    let cut =
        |attempt: &&Attempt| attempt.outcome.is_death() || attempt.outcome == Ending::Interrupted;
    let cut: Vec<&Attempt> = facts.attempts.iter().filter(cut).collect();
    let first = cut.first()?;
    let more = if cut.len() > SHOWN_MAX {
        format!(" (and {} more)", cut.len() - SHOWN_MAX)
    } else {
        String::new()
    };
    let shown = cut.iter().take(SHOWN_MAX).map(|attempt| told(attempt));
    let text = format!(
        "It begins more than once, since {} cut short: {}{more}. What it had done by then it may do again.",
        if cut.len() == 1 {
            "an attempt was".to_owned()
        } else {
            format!("{} attempts were", cut.len())
        },
        shown.collect::<Vec<_>>().join("; "),
    );
    let attempts: Vec<Value> = cut
        .iter()
        .map(|attempt| {
            json!({
                "outcome": attempt.outcome,
                "at": attempt.at,
                "host": attempt.host,
                "pid": attempt.pid,
                "error": attempt.error,
                "duration_s": attempt.duration,
            })
        })
        .collect();
    Some(Reason::new("ran_twice", text).with("since", first.at).with("cut_short", attempts))
}

fn told(attempt: &Attempt) -> String {
    let at = display::time((attempt.at * 1e9) as i64);
    let after = attempt.duration.map(|ran| format!(" after {}", display::span(ran)));
    let by = match attempt.pid {
        0 => String::new(),
        pid if attempt.host.is_empty() => format!(" in process {pid}"),
        pid => format!(" in process {pid} on {}", attempt.host),
    };
    format!("at {at}{by}{}, {}", after.unwrap_or_default(), attempt.error)
}
