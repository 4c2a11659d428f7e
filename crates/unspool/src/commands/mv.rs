//! `unspool mv`: pending tasks get another priority or another due time.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use unspool_core::{InvalidPriority, Priority};
use unspool_spool::{
    Kept, Place, Relocated, Relocation, SpoolDir, Whereabouts, read_relay, relocate,
};
use unspool_sys::clock;

use crate::cli::MvOptions;
use crate::display;
use crate::exit;
use crate::logging::{complain, complain_as_asked, with_causes};
use crate::tasks::{Finder, FinderError};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum MvError {
    #[error(transparent)]
    Finder(#[from] FinderError),
    #[error("--priority")]
    Priority(#[from] InvalidPriority),
    #[error("there is no task `{task}`, or no more")]
    Gone { task: String },
    #[error("`{path}` was given up: `unspool retry` makes it pending again")]
    Dead { path: String },
    #[error("`{path}` is corrupt: `unspool retry --corrupt` tries it again as it is")]
    Corrupt { path: String },
    #[error("`{path}` runs, or somebody else has it locked: it cannot be moved meanwhile")]
    Held { path: String },
    #[error("`{path}` cannot be moved: `{to}` is another task of that name")]
    Taken { path: String, to: String },
    #[error(
        "`{path}` waits in an outbox, and goes to {address} with the priority and the time that it was submitted \
         with: move it there once it has arrived"
    )]
    Outbox { path: String, address: String },
    #[error("cannot move `{path}`")]
    Move { path: String, source: io::Error },
    #[error("`{path}` is moved, and a power cut may undo it: a folder cannot be flushed")]
    NotDurable { path: String, source: io::Error },
}

impl MvError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Finder(error) => error.exit_status(),
            Self::Priority(_) => exit::USAGE,
            Self::Gone { .. } | Self::Dead { .. } | Self::Corrupt { .. } => exit::NOTHING,
            Self::Held { .. } => exit::HELD,
            _ => exit::FAILED,
        }
    }
}

/// Moves each task, also after one that fails.
pub(crate) fn run(options: &MvOptions) -> u8 {
    let to = match relocation(options) {
        Ok(to) => to,
        Err(error) => {
            complain_as_asked(&error, options.json);
            return error.exit_status();
        }
    };
    let mut finder = Finder::new(&options.spool);
    let mut output = io::stdout().lock();
    let mut status = exit::OK;
    for given in &options.tasks {
        let task = given.to_string_lossy();
        let moved = match finder.find(given) {
            Ok(Some((spool, found))) => move_one(spool, &found, &to),
            Ok(None) => Err(MvError::Gone { task: task.to_string() }),
            Err(error) => Err(error.into()),
        };
        let row = match moved {
            Ok(path) if options.json => json!({"task": task, "path": path, "became": "moved"}),
            Ok(path) => {
                // It is done whether or not somebody reads of it.
                let _ = writeln!(output, "moved     {}", display::clean(&path));
                continue;
            }
            Err(error) => {
                status = exit::worse(status, error.exit_status());
                complain(&error);
                json!({"task": task, "error": with_causes(&error)})
            }
        };
        if options.json {
            let _ = write!(output, "{}", display::json_line(&row));
        }
    }
    status
}

fn relocation(options: &MvOptions) -> Result<Relocation, MvError> {
    let priority = match (&options.priority, options.none) {
        (Some(name), _) => Some(Some(Priority::new(name.as_bytes())?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    Ok(Relocation { priority, due_ns: due_ns(options.at, options.delay) })
}

/// The due time that is asked for.
pub(crate) fn due_ns(at: Option<i64>, delay: Option<std::time::Duration>) -> Option<i64> {
    let from_now = |delay: std::time::Duration| {
        clock::now_ns().saturating_add(i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX))
    };
    at.or(delay.map(from_now))
}

/// Returns the path that the task has then.
fn move_one(spool: &SpoolDir, task: &Whereabouts, to: &Relocation) -> Result<String, MvError> {
    let path = task.path(spool.view()).to_string_lossy().into_owned();
    let place = match task {
        Whereabouts::Pending(place) => place,
        Whereabouts::Kept(Kept::Dead, _) => return Err(MvError::Dead { path }),
        Whereabouts::Kept(Kept::Corrupt, _) => return Err(MvError::Corrupt { path }),
    };
    // What nobody can read, the next forwarder writes anew.
    if let Ok(Some((relay, _))) = read_relay(spool.view()) {
        return Err(MvError::Outbox { path, address: relay.address });
    }
    let shown = |place: &Place| place.path(spool.view()).to_string_lossy().into_owned();
    match relocate(spool, place, to) {
        Ok(Relocated::Done(new)) => {
            let path = shown(&new);
            let folders = [place.priority.as_ref(), new.priority.as_ref()];
            match spool.flush(folders, &[]) {
                Ok(()) => Ok(path),
                Err(source) => Err(MvError::NotDurable { path, source }),
            }
        }
        Ok(Relocated::Gone) => Err(MvError::Gone { task: path }),
        Ok(Relocated::Held(_)) => Err(MvError::Held { path }),
        Ok(Relocated::Taken(other)) => Err(MvError::Taken { path, to: shown(&other) }),
        Err(source) => Err(MvError::Move { path, source }),
    }
}
