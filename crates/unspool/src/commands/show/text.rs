//! A task for people.

use std::fmt::Write as _;

use unspool_core::Priority;
use unspool_spool::{Attempt, Ending, TaskState, submitter};

use super::{Known, Signature, policy};
use crate::arguments::Arguments;
use crate::display::{age, clean, clean_lines, clipped, paint, paused, time};

/// Characters of a value and of a body that are shown.
const VALUE_SHOWN: usize = 2000;
const BODY_SHOWN: usize = 400;
/// The width of the first column.
const WIDTH: usize = 11;

pub(super) fn text(known: &Known<'_>, coloured: bool) -> String {
    let mut out = String::new();
    let seen = known.seen;
    let name = String::from_utf8_lossy(seen.whereabouts.name());
    line(&mut out, "task", &seen.id.map_or_else(|| clean(&name), |id| id.to_string()));
    let state = if coloured {
        paint(seen.state).on(seen.state.as_str())
    } else {
        seen.state.as_str().into()
    };
    line(&mut out, "state", &format!("{state}{}", more_of_state(known)));
    if known.pauses.is_none() {
        line(&mut out, "", "what is paused cannot be read: nothing of the spool runs");
    }
    for pause in known.pauses.iter().flatten() {
        line(&mut out, "", &format!("{} is {}", clean(&pause.scope.describe()), paused(pause)));
    }
    let function = match (&seen.function, known.module()) {
        (None, _) => "none named".to_owned(),
        (Some(name), None) => clean(&String::from_utf8_lossy(name)),
        (Some(name), Some(module)) => {
            format!("{} of {}", clean(&String::from_utf8_lossy(name)), clean(&module))
        }
    };
    if let Some((_, relay)) = &known.relay {
        line(&mut out, "relayed", &clean(relay));
    }
    line(&mut out, "function", &function);
    line(&mut out, "file", &clean(&known.path.to_string_lossy()));
    line(&mut out, "", &format!("{} bytes, of user {}", seen.stat.bytes, seen.stat.owner));
    if let Err(damage) = &known.task {
        line(&mut out, "damage", &damage.to_string());
    }
    if let Some(priority) = &known.priority {
        line(&mut out, "priority", &clean(&String::from_utf8_lossy(Priority::as_bytes(priority))));
    }
    line(&mut out, "submitted", &submitted(known));
    line(&mut out, "due", &at(seen.due_ns, known.now_ns));
    for (number, asks) in policy::text(&seen.policy).iter().enumerate() {
        line(&mut out, if number == 0 { "asks for" } else { "" }, asks);
    }
    if let Some(signature) = &known.signature {
        line(&mut out, "signed", &signed(signature));
    }
    if let Some(arguments) = &known.arguments {
        push_arguments(&mut out, arguments, known);
    }
    for attempt in &known.history {
        push_attempt(&mut out, attempt);
    }
    out
}

fn line(out: &mut String, title: &str, value: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{title:WIDTH$}{value}");
}

/// What follows the word for the state.
fn more_of_state(known: &Known<'_>) -> String {
    let seen = known.seen;
    let failed = known.failed();
    let failures = match failed {
        0 => String::new(),
        1 => ", failed once".to_owned(),
        _ => format!(", failed {failed} times"),
    };
    let expired = seen.policy.is_expired(known.now_ns) && seen.state != TaskState::Dead;
    let expired = if expired { ", expired" } else { "" };
    let held = if seen.state == TaskState::Held { ", `unspool adopt` decides" } else { "" };
    format!("{failures}{expired}{held}")
}

fn submitted(known: &Known<'_>) -> String {
    let when = at(known.seen.submitted_ns, known.now_ns);
    match submitter(known.seen.whereabouts.name()) {
        None => when,
        Some((host, pid)) => format!("{when}, by {}", process(&String::from_utf8_lossy(host), pid)),
    }
}

/// A process, of a machine that may have no name.
fn process(host: &str, pid: u32) -> String {
    if host.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid} on {}", clean(host))
    }
}

/// A time, and how far away that is.
fn at(ns: i64, now_ns: i64) -> String {
    let away = age(ns.abs_diff(now_ns));
    if ns > now_ns {
        format!("{}, in {away}", time(ns))
    } else {
        format!("{}, {away} ago", time(ns))
    }
}

fn signed(signature: &Signature) -> String {
    let key = clean(&signature.key);
    match signature.holds {
        Some(true) => format!("with the key `{key}`"),
        Some(false) => format!("wrongly, or not by a key that is known here, as if with `{key}`"),
        None => format!("with the key `{key}`, as it says: no keys are known here to check that"),
    }
}

fn push_arguments(out: &mut String, arguments: &Arguments, known: &Known<'_>) {
    let mut title = "arguments";
    let mut push = |text: String| {
        line(out, title, &clipped(&text, VALUE_SHOWN));
        title = "";
    };
    for value in &arguments.positional {
        push(value.text());
    }
    for (name, value) in &arguments.named {
        push(format!("{}={}", clean(name), value.text()));
    }
    if let Some((bytes, why)) = arguments.unreadable {
        push(format!("a pickle of {bytes} bytes that cannot be shown: {why}"));
    }
    if let Some(body) = &arguments.body {
        let bytes = known.task.as_ref().map_or(0, |task| task.body.len());
        line(out, "body", &format!("{bytes} bytes: {}", clipped(&body.text(), BODY_SHOWN)));
    }
}

fn push_attempt(out: &mut String, attempt: &Attempt) {
    let ended = (attempt.at * 1e9) as i64;
    let what = match attempt.outcome {
        // It is no attempt.
        Ending::Retried => String::new(),
        _ => format!("attempt {}, ", attempt.attempt),
    };
    let _ = writeln!(out, "\n{what}{}: {}", time(ended), ending(attempt.outcome));
    let mut facts = Vec::new();
    facts.extend(attempt.duration.map(|seconds| format!("after {}", age((seconds * 1e9) as u64))));
    if attempt.pid > 0 {
        facts.push(format!("in {}", process(&attempt.host, attempt.pid)));
    }
    facts.extend(attempt.peak_rss.map(|bytes| format!("peak memory {} MiB", bytes >> 20)));
    facts.extend(attempt.again_at.map(|at| format!("next one {}", time((at * 1e9) as i64))));
    if !facts.is_empty() {
        let _ = writeln!(out, "  {}", facts.join(", "));
    }
    let what = if attempt.traceback.is_empty() { &attempt.error } else { &attempt.traceback };
    push_indented(out, what, "  ");
    if !attempt.output.is_empty() {
        out.push_str("  printed:\n");
        push_indented(out, &attempt.output, "    ");
    }
}

fn push_indented(out: &mut String, text: &str, indent: &str) {
    for text in clean_lines(text).trim_end().lines() {
        let _ = writeln!(out, "{indent}{text}");
    }
}

fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Exception => "it raised",
        Ending::Retry => "it asked to run again",
        Ending::Timeout => "its time was over",
        Ending::Died => "its worker died",
        Ending::Killed => "its worker was killed, for time or memory",
        Ending::Lost => "its worker and its daemon vanished",
        Ending::Oom => "the kernel killed its worker for want of memory",
        Ending::Interrupted => "a stop or a reload ended it",
        Ending::Expired => "it was not started in time",
        Ending::Cancelled => "somebody cancelled it",
        Ending::Retried => "somebody let it run again",
        _ => "it did not finish",
    }
}
