//! Tasks that are pending and that nobody has: for what they wait.
//!
//! What is found first keeps the task from running whatever else holds.

use unspool_spool::{Attempt, Ending, Pauses, TaskState};
use unspool_supervisor::explanation::{PutOff, Standing};

use super::ended::how;
use super::{Facts, Reason, unreadable, workers};
use crate::display;

pub(super) fn reasons(facts: &Facts) -> Vec<Reason> {
    let first = [torn(facts), refused(facts), old(facts), later(facts)];
    let mut reasons: Vec<Reason> = first.into_iter().flatten().collect();
    let is_final = |reason: &Reason| matches!(reason.code, "torn" | "refused" | "held_by_adoption");
    if reasons.iter().any(is_final) {
        reasons.truncate(1);
        return reasons;
    }
    let waits = !reasons.is_empty();
    reasons.extend(expired(facts));
    reasons.extend(paused(facts));
    reasons.extend(workers::reasons(facts, waits || !reasons.is_empty()));
    // What the daemon found when it tried says more.
    if !reasons.iter().any(|reason| reason.code == "unreadable")
        && let Some(reason) = unreadable(facts)
    {
        reasons.insert(0, reason);
    }
    reasons
}

fn put_off(facts: &Facts) -> PutOff {
    facts.known().map(|(_, task)| task.put_off).find(|why| *why != PutOff::No).unwrap_or_default()
}

/// When the daemon looks at it next, if that is later.
fn again_s(facts: &Facts) -> Option<f64> {
    let now = facts.now_ns as f64 / 1e9;
    let delayed = facts.known().filter(|(_, task)| task.standing == Standing::Delayed);
    let again = delayed.map(|(_, task)| task.due_at - now).fold(f64::INFINITY, f64::min);
    (again.is_finite() && again > 0.0).then_some(again)
}

fn torn(facts: &Facts) -> Option<Reason> {
    let is_damaged = put_off(facts) == PutOff::Damaged || facts.damage.is_some();
    if facts.summary.state != TaskState::Torn && !is_damaged {
        return None;
    }
    let problem =
        facts.damage.as_ref().map_or_else(|| "it is short".to_owned(), ToString::to_string);
    let age = facts.now_ns.saturating_sub(facts.summary.stat.ctime_ns).max(0) as f64 / 1e9;
    let settle = facts.daemons.iter().find_map(|daemon| daemon.explanation.as_ref());
    let settle = settle.map(|explanation| explanation.dispatch.settle_ms as f64 / 1e3);
    let then = match settle.map(|settle| settle - age) {
        Some(left) if left > 0.0 => {
            format!("if it does not change within {}, it goes to corrupt/", display::span(left))
        }
        Some(_) => "it goes to corrupt/".to_owned(),
        None => "a daemon moves it to corrupt/ if it stays so".to_owned(),
    };
    let text = format!(
        "It is no whole task: {problem}. It has not changed for {}. Either somebody writes it still, or its \
         writer died: {then}.",
        display::span(age)
    );
    Some(Reason::new("torn", text).with("problem", problem).with("unchanged_s", age))
}

fn refused(facts: &Facts) -> Option<Reason> {
    if put_off(facts) != PutOff::Refused && facts.refusal.is_none() {
        return None;
    }
    let problem = facts.refusal.as_ref().map(ToString::to_string);
    let why = problem.clone().unwrap_or_else(|| {
        "its signature or its owner; the daemon's log says it, and --config FILE has the keys looked at \
         here"
            .to_owned()
    });
    let then =
        again_s(facts).map(|again| format!(" It goes to corrupt/ in {}.", display::span(again)));
    let text = format!("It may not run: {why}.{}", then.unwrap_or_default());
    Some(
        Reason::new("refused", text)
            .with("problem", problem)
            .with("owner", facts.summary.stat.owner),
    )
}

fn old(facts: &Facts) -> Option<Reason> {
    let is_decided = facts.adoption?;
    let text = if is_decided {
        "It is an old task of a uWSGI's, and somebody has decided to hold it: `unspool adopt --run` lets it \
         run."
    } else {
        "It is an old task of a uWSGI's that the old configuration never ran, or that was long overdue at \
         the first start: it is held until somebody decides. `unspool adopt` lists such tasks; add --run, \
         --hold or --bury."
    };
    Some(Reason::new("held_by_adoption", text).with("decided", is_decided))
}

/// Its time has not come, by its file or by what the daemon knows.
fn later(facts: &Facts) -> Option<Reason> {
    let in_s = facts.summary.due_ns.saturating_sub(facts.now_ns) as f64 / 1e9;
    match put_off(facts) {
        PutOff::Ignored => {
            let text = format!(
                "Its handler left it alone (it returned 0, SPOOL_IGNORE): it is tried again {}.",
                in_time(again_s(facts))
            );
            return Some(Reason::new("ignored", text).with("again_s", again_s(facts)));
        }
        PutOff::Busy => {
            let text = format!(
                "Somebody had it locked when its turn came: it is looked at again {}.",
                in_time(again_s(facts))
            );
            return Some(Reason::new("was_held", text).with("again_s", again_s(facts)));
        }
        PutOff::Unreadable => {
            let text = format!(
                "Its file cannot be opened or read: the daemon's log says why. It is tried again {}.",
                in_time(again_s(facts))
            );
            return Some(Reason::new("unreadable", text).with("again_s", again_s(facts)));
        }
        PutOff::Unknown | PutOff::Damaged | PutOff::Refused | PutOff::No => {}
    }
    if in_s <= 0.0 {
        return None;
    }
    if facts.summary.attempts > 0 {
        return Some(retrying(facts, in_s));
    }
    let at = display::time(facts.summary.due_ns);
    let text = format!("It is due in {}, at {at}.", display::span(in_s));
    Some(due(Reason::new("delayed", text), facts, in_s))
}

fn in_time(again_s: Option<f64>) -> String {
    again_s.map_or_else(|| "soon".to_owned(), |again| format!("in {}", display::span(again)))
}

fn due(reason: Reason, facts: &Facts, in_s: f64) -> Reason {
    reason.with("due_at", facts.summary.due_ns as f64 / 1e9).with("due_in_s", in_s)
}

fn retrying(facts: &Facts, in_s: f64) -> Reason {
    let attempts = facts.summary.attempts;
    let last = facts.attempts.iter().rfind(|attempt| attempt.outcome != Ending::Interrupted);
    let most = most(facts, last);
    let of = most.map(|most| format!(" of {most}")).unwrap_or_default();
    let failed = last.map(|last| format!(", which {}", how(last)));
    let text = format!(
        "It waits to run again after attempt {attempts}{of}{}. The next one is due in {}, at {}.",
        failed.unwrap_or_default(),
        display::span(in_s),
        display::time(facts.summary.due_ns)
    );
    let reason = Reason::new("retrying", text)
        .with("attempt", attempts)
        .with("attempts_max", most)
        .with("error", last.map(|last| last.error.clone()));
    due(reason, facts, in_s).detail(last.map(|last| last.traceback.as_str()).unwrap_or_default())
}

/// Attempts after which it is given up, if it goes on like this.
fn most(facts: &Facts, last: Option<&Attempt>) -> Option<u8> {
    let asked = last.is_some_and(|last| last.outcome == Ending::Retry);
    let most = if asked { facts.policy.retries_max } else { facts.policy.attempts_max };
    (most != 0).then_some(most)
}

fn expired(facts: &Facts) -> Option<Reason> {
    let expires_ms = facts.summary.policy.expires_ms?;
    let began = facts.summary.attempts > 0
        || facts.attempts.iter().any(|attempt| attempt.outcome != Ending::Expired);
    if !facts.summary.policy.is_expired(facts.now_ns) || began {
        return None;
    }
    let at = i64::try_from(expires_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let text = format!(
        "It has expired, at {}: when its turn comes it is not run but given up.",
        display::time(at)
    );
    Some(Reason::new("expired", text).with("expired_at", expires_ms as f64 / 1e3))
}

pub(super) fn paused(facts: &Facts) -> Vec<Reason> {
    let pauses: &Pauses = match &facts.pauses {
        Ok(pauses) => pauses,
        Err(error) => {
            let text = format!(
                "Nothing of the spool runs, since it is not known what is paused: {error}."
            );
            return vec![Reason::new("pauses_unreadable", text).with("problem", error.clone())];
        }
    };
    let function = facts.summary.function.as_deref();
    let reason = |pause: &unspool_spool::Pause| {
        let (what, at) = (pause.scope.describe(), display::time(pause.at_ns));
        let why = if pause.why.is_empty() { String::new() } else { format!(": {}", pause.why) };
        let what =
            if what.starts_with("tasks") { format!("{what} are") } else { format!("{what} is") };
        let text = format!("{} paused by {} since {at}{why}.", capital(&what), pause.by);
        Reason::new("paused", text)
            .with("scope", pause.scope.kind())
            .with("name", pause.scope.name())
            .with("by", pause.by.clone())
            .with("at", pause.at_ns as f64 / 1e9)
            .with("why", pause.why.clone())
    };
    pauses.of_task(facts.priority(), function).map(reason).collect()
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}
