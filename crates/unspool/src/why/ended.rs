//! Tasks that are not pending any more, and are kept: given up, or no tasks.

use unspool_spool::{Attempt, Ending, Kept};

use super::{Facts, Reason, unreadable};
use crate::display;

pub(super) fn reasons(facts: &Facts, kept: Kept) -> Vec<Reason> {
    match (kept, unreadable(facts)) {
        (Kept::Dead, unreadable) => [dead(facts)].into_iter().chain(unreadable).collect(),
        (Kept::Corrupt, Some(unreadable)) => vec![unreadable],
        (Kept::Corrupt, None) => vec![corrupt(facts)],
    }
}

fn dead(facts: &Facts) -> Reason {
    const AGAIN: &str = "`unspool retry` lets it run again.";
    let failed = |attempt: &&Attempt| attempt.outcome != Ending::Interrupted;
    let Some(last) = facts.attempts.iter().rfind(failed) else {
        if !facts.unrecorded.is_empty() {
            let text = format!("It was given up, and the record of why cannot be read. {AGAIN}");
            return Reason::new("buried", text).with("attempts", None::<u32>);
        }
        let text = format!(
            "It was moved to dead/, and no record says that it ever failed: `unspool adopt` or \
             `spooler-adopt` buries old tasks, and hands move files. {AGAIN}"
        );
        return Reason::new("buried", text).with("attempts", 0);
    };
    let at = display::time((last.at * 1e9) as i64);
    if last.outcome == Ending::Expired {
        let expired = facts.summary.policy.expires_ms.map(|ms| ms as f64 / 1e3);
        let by = expired.map(|at| format!(" at {}", display::time((at * 1e9) as i64)));
        let text = format!(
            "It expired{}: it had not been started by then, and was given up at {at}. {AGAIN}",
            by.unwrap_or_default()
        );
        return Reason::new("expired", text)
            .with("expired_at", expired)
            .with("given_up_at", last.at);
    }
    let text = format!(
        "It was given up at {at} after {}: the last one {}. {AGAIN}",
        display::count(u64::from(last.attempt), "failed attempt"),
        how(last)
    );
    Reason::new("buried", text)
        .with("attempts", last.attempt)
        .with("given_up_at", last.at)
        .with("error", last.error.clone())
        .detail(&last.traceback)
}

/// How an attempt ended, as the end of a sentence.
pub(super) fn how(attempt: &Attempt) -> String {
    let error = &attempt.error;
    match attempt.outcome {
        Ending::Exception => format!("raised {error}"),
        Ending::Retry => "asked to run again".to_owned(),
        Ending::Timeout => format!("ran out of time: {error}"),
        _ => format!("ended so: {error}"),
    }
}

fn corrupt(facts: &Facts) -> Reason {
    if let Some(damage) = &facts.damage {
        let text = format!(
            "It is no whole task, so it was moved to corrupt/: {damage}. It may be looked at and deleted \
             by hand; it does not run."
        );
        return Reason::new("corrupt", text).with("problem", damage.to_string());
    }
    if let Some(refusal) = &facts.refusal {
        let text = format!(
            "It was refused, and moved to corrupt/: {refusal}. If it is to run, submit it anew with a key \
             of `spooler-keys`."
        );
        return Reason::new("refused", text).with("problem", refusal.to_string());
    }
    let text = "It is a whole task in corrupt/: its signature or its owner was refused, or hands moved it \
                there. With --config FILE the keys of the configuration are looked at; the log of the daemon \
                says it. If it is to run, move it back to the spool.";
    Reason::new("refused", text)
}
