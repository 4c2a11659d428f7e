//! `unspool why`: why a task does not run, or not yet, or why it ran late or twice.
//!
//! Changes nothing, and needs no daemon; one that runs is asked, also where the task lies.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::cli::TaskOptions;
use crate::logging::complain;
use crate::security::{self, SecurityError};
use crate::tasks::{self, FoundTask, Looked, TaskError};
use crate::why::{Facts, Reason, Setup, reasons};
use crate::{display, exit, resolve, terminal};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum WhyError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("cannot look at `{path}`")]
    Look { path: PathBuf, source: std::io::Error },
}

impl WhyError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Task(error) => error.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::Look { .. } => exit::FAILED,
        }
    }
}

/// Prints the reasons.
pub(crate) fn run(options: &TaskOptions) -> u8 {
    match answer(options) {
        Ok((text, status)) => terminal::print(&text, status),
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn answer(options: &TaskOptions) -> Result<(String, u8), WhyError> {
    let FoundTask { view, listed, config } = match tasks::find(&options.spool, &options.task) {
        Err(TaskError::Nowhere { spools, unsure, .. }) => {
            return Ok(nowhere(options, &spools, unsure));
        }
        found => found?,
    };
    let mut setup = Setup::default();
    if let Some(config) = &config {
        match security::keys(config) {
            Ok(keys) => setup.keys = keys,
            // They may be the daemon's alone: nearly all can be told without them.
            Err(error) if error.exit_status() == exit::FAILED => complain(&error),
            Err(error) => return Err(error.into()),
        }
        setup.unsigned_uids = security::of_workers(config)?.unsigned_uids;
        setup.retry = Some(resolve::retry(config).policy);
    }
    let task = listed.whereabouts();
    let spool = Looked::at(view);
    let look = |source| WhyError::Look { path: task.path(&spool.view), source };
    Ok(match Facts::gather(&spool, task, &setup).map_err(look)? {
        Some(facts) => shown(options, &facts),
        None => nowhere(options, &[spool.view.path().to_owned()], false),
    })
}

/// The answer; it may not be all of it if something could not be read.
fn shown(options: &TaskOptions, facts: &Facts) -> (String, u8) {
    let reasons = reasons(facts);
    for error in &facts.unrecorded {
        complain(error);
    }
    let is_whole = facts.unrecorded.is_empty() && facts.summary.readable;
    let status = if is_whole { exit::OK } else { exit::FAILED };
    if options.json {
        return (display::json_block(&object(facts, &reasons)), status);
    }
    (for_people(facts, &reasons), status)
}

fn for_people(facts: &Facts, reasons: &[Reason]) -> String {
    let summary = &facts.summary;
    let function = facts.function().map(|name| format!(" of `{name}`")).unwrap_or_default();
    let id = summary.id.map(|id| format!(", id {id}")).unwrap_or_default();
    let head = format!("{}: a task{function}{id}", facts.path.display());
    // Each is one line, whatever stands in the names and errors of others.
    let mut text = format!("{}\n", display::clean(&head));
    for reason in reasons {
        text.push_str(&display::clean(&reason.text));
        text.push('\n');
        for line in reason.detail.as_deref().unwrap_or_default().lines() {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
    }
    display::clean_lines(&text)
}

fn object(facts: &Facts, reasons: &[Reason]) -> Value {
    let summary = &facts.summary;
    let reasons = reasons.iter().map(|reason| {
        let mut object = Map::new();
        object.insert("reason".to_owned(), reason.code.into());
        object.insert("text".to_owned(), reason.text.clone().into());
        object.extend(reason.facts.clone());
        Value::Object(object)
    });
    json!({
        "path": facts.path.to_string_lossy(),
        "id": summary.id.map(|id| id.to_string()),
        "function": facts.function(),
        "state": summary.state.as_str(),
        "attempts": facts.failed(),
        "submitted_at": summary.submitted_ns as f64 / 1e9,
        "due_at": summary.due_ns as f64 / 1e9,
        "reasons": reasons.collect::<Vec<Value>>(),
    })
}

/// There is no such task, or no more.
fn nowhere(options: &TaskOptions, spools: &[PathBuf], unsure: bool) -> (String, u8) {
    let given = options.task.to_string_lossy();
    let places: Vec<String> =
        spools.iter().map(|spool| spool.to_string_lossy().into_owned()).collect();
    let and = if unsure {
        "It may be in another spool, which cannot be looked at."
    } else {
        "One that is done, or was cancelled, leaves no trace but lines of the daemon's log."
    };
    let text = format!(
        "There is no task `{given}` in {}: not among the pending ones and their priorities, not in dead/ \
         and not in corrupt/. {and}",
        places.join(", ")
    );
    let status = if unsure { exit::FAILED } else { exit::NOTHING };
    if options.json {
        let reason = json!({"reason": "not_found", "text": text, "spools": places});
        let object = json!({"given": given, "reasons": [reason]});
        return (display::json_block(&object), status);
    }
    (format!("{}\n", display::clean_lines(&text)), status)
}
