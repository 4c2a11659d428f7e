//! A task as a row of the table, and as a line of JSON.

use std::io::{self, Write};

use serde_json::{Value, json};
use unspool_spool::{Attempt, TaskState, TaskSummary, Whereabouts};

use crate::display::{
    Cell, Column, Table, age, clean, clipped, json_line, paint, paused, short_id, time,
};
use crate::tasks::{self, Looked, shown_attempt};

/// Characters of a function's name and of a note that are shown.
const FUNCTION_SHOWN: usize = 48;
const NOTE_SHOWN: usize = 100;

/// Where the list goes.
pub(super) struct Printer<W: Write> {
    form: Form<W>,
    /// There is more than one spool.
    several: bool,
    now_ns: i64,
}

enum Form<W: Write> {
    Json(W),
    Table(Table<W>),
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, json: bool, coloured: bool, several: bool, now_ns: i64) -> Self {
        let mut columns = vec![
            Column::words("ID"),
            Column::words("STATE"),
            Column::words("FUNCTION"),
            Column::words("PRIORITY"),
            Column::words("DUE"),
            Column::numbers("AGE"),
            Column::numbers("FAILED"),
            Column::words("NOTE"),
        ];
        if several {
            columns.insert(0, Column::words("SPOOL"));
        }
        let form =
            if json { Form::Json(out) } else { Form::Table(Table::new(out, coloured, columns)) };
        Self { form, several, now_ns }
    }

    pub(super) fn print(&mut self, spool: &Looked, seen: &TaskSummary) -> io::Result<()> {
        let last = spool.last_attempt(seen).map(shown_attempt);
        let failed = tasks::failed(seen, last.as_ref());
        let note = note(spool, seen, last.as_ref(), self.now_ns);
        match &mut self.form {
            Form::Json(out) => {
                let line = self::json(spool, seen, failed, last.as_ref(), self.now_ns);
                out.write_all(json_line(&line).as_bytes())
            }
            Form::Table(table) => {
                let mut row = vec![
                    Cell::new(short_id(seen.id, seen.whereabouts.name())),
                    Cell::painted(seen.state.as_str(), paint(seen.state)),
                    Cell::new(clipped(&clean(&function(seen)), FUNCTION_SHOWN)),
                    Cell::new(
                        priority(spool, seen).map_or_else(|| "-".to_owned(), |name| clean(&name)),
                    ),
                    Cell::new(time(seen.due_ns)),
                    Cell::new(age(self.now_ns.saturating_sub(seen.submitted_ns).max(0) as u64)),
                    Cell::new(if failed > 0 { failed.to_string() } else { String::new() }),
                    Cell::new(clipped(&clean(&note), NOTE_SHOWN)),
                ];
                if self.several {
                    row.insert(0, Cell::new(clean(&spool.view.path().to_string_lossy())));
                }
                table.push(row)
            }
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        match self.form {
            Form::Json(mut out) => out.flush(),
            Form::Table(table) => table.finish(),
        }
    }
}

fn function(seen: &TaskSummary) -> String {
    seen.function
        .as_deref()
        .map_or_else(|| "-".to_owned(), |name| String::from_utf8_lossy(name).into())
}

fn priority(spool: &Looked, seen: &TaskSummary) -> Option<String> {
    let priority = spool.priority(&seen.whereabouts)?;
    Some(String::from_utf8_lossy(priority.as_bytes()).into_owned())
}

/// In a few words what the other columns do not say.
fn note(spool: &Looked, seen: &TaskSummary, last: Option<&Attempt>, now_ns: i64) -> String {
    let wait = || age(seen.due_ns.saturating_sub(now_ns).max(0) as u64);
    let error = last.map(|last| last.error.clone()).unwrap_or_default();
    if let (Some((relay, lives)), Whereabouts::Pending(_)) = (&spool.relay, &seen.whereabouts)
        && seen.readable
        && !matches!(seen.state, TaskState::Paused | TaskState::Torn)
    {
        return tasks::relayed(relay, *lives, seen.state == TaskState::Running);
    }
    match seen.state {
        _ if !seen.readable => "may not be read".to_owned(),
        TaskState::Due | TaskState::Delayed if seen.policy.is_expired(now_ns) => {
            "expired".to_owned()
        }
        TaskState::Delayed => format!("in {}", wait()),
        TaskState::Retrying if error.is_empty() => format!("in {}", wait()),
        TaskState::Retrying => format!("in {}: {error}", wait()),
        TaskState::Paused => spool.paused(seen).next().map(paused).unwrap_or_default(),
        TaskState::Held => "an old one of uWSGI's: `unspool adopt` decides".to_owned(),
        TaskState::Torn => format!("{} bytes, not whole", seen.stat.bytes),
        TaskState::Corrupt => "no task, or not signed: `unspool show` says more".to_owned(),
        _ => error,
    }
}

fn json(
    spool: &Looked,
    seen: &TaskSummary,
    failed: u32,
    last: Option<&Attempt>,
    now_ns: i64,
) -> Value {
    let seconds = |ns: i64| ns as f64 / 1e9;
    let relay = spool.relay.as_ref();
    json!({
        "spool": spool.view.path().to_string_lossy(),
        "path": seen.whereabouts.path(&spool.view).to_string_lossy(),
        "id": seen.id.map(|id| id.to_string()),
        "name": String::from_utf8_lossy(seen.whereabouts.name()),
        "state": seen.state.as_str(),
        "function": seen.function.as_deref().map(String::from_utf8_lossy),
        "priority": priority(spool, seen),
        "submitted_at": seconds(seen.submitted_ns),
        "due_at": seconds(seen.due_ns),
        "age_s": seconds(now_ns.saturating_sub(seen.submitted_ns)),
        "attempts": failed,
        "last_error": last.map(|last| last.error.as_str()),
        "bytes": seen.stat.bytes,
        "readable": seen.readable,
        "relay": relay.map(|(relay, _)| relay.address.as_str()),
    })
}
