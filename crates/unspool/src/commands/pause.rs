//! `unspool pause` and `unspool resume`: what of a spool does not run until somebody lets it.
//!
//! Both change a record in the spool, with and without a daemon; daemons heed it at once.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use unspool_core::Priority;
use unspool_spool::{
    Pause, PauseError, Pauses, Scope, SpoolDir, SpoolView, pause as record_pause, read_pauses,
    resume as record_resume, resume_all,
};

use crate::cli::{PartArgs, PauseOptions, ResumeOptions, SpoolArgs};
use crate::logging::{complain, complain_as_asked};
use crate::spools::{Source, SpoolsError, check_spool, open_all, to_change, view_those};
use crate::{display, exit, terminal};

/// How a spool is named here.
pub(crate) const WAYS: &str = "--spooler DIR or --config FILE";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum PauseCommandError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error("`{name}` is no priority: a priority is the name of a folder of the spool")]
    Priority { name: String },
}

impl PauseCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Pause(PauseError::LongWhy { .. } | PauseError::BadFunction { .. })
            | Self::Priority { .. } => exit::USAGE,
            Self::Pause(_) => exit::FAILED,
        }
    }
}

/// `unspool pause`.
pub(crate) fn pause(options: &PauseOptions) -> u8 {
    let result = if options.list { list(&options.spool, options.json) } else { pause_all(options) };
    result.unwrap_or_else(|error| {
        complain_as_asked(&error, options.json);
        error.exit_status()
    })
}

/// `unspool resume`.
pub(crate) fn resume(options: &ResumeOptions) -> u8 {
    resume_each(options).unwrap_or_else(|error| {
        complain_as_asked(&error, options.json);
        error.exit_status()
    })
}

pub(crate) fn paths(args: &SpoolArgs) -> Result<Vec<PathBuf>, SpoolsError> {
    Ok(Source::of(args, WAYS)?.run_here()?.0)
}

fn scope(part: &PartArgs) -> Result<Scope, PauseCommandError> {
    if let Some(function) = &part.func {
        return Ok(Scope::Function(function.as_bytes().to_vec()));
    }
    match part.priority.as_ref().map(|name| name.as_bytes()) {
        None => Ok(Scope::Spool),
        Some(b".") => Ok(Scope::Folder(None)),
        Some(name) => {
            let priority = Priority::new(name).map_err(|_| PauseCommandError::Priority {
                name: String::from_utf8_lossy(name).into_owned(),
            })?;
            Ok(Scope::Folder(Some(priority)))
        }
    }
}

fn pause_all(options: &PauseOptions) -> Result<u8, PauseCommandError> {
    let scope = scope(&options.part)?;
    for spool in open_all(paths(&options.spool)?)? {
        let pause = Pause::now(scope.clone(), &options.why);
        let before = record_pause(&spool, pause.clone())?;
        let text = if options.json {
            let mut object = object(spool.path(), &pause);
            object["replaces"] = before.as_ref().map_or(Value::Null, display::pause_object);
            display::json_line(&object)
        } else {
            let before = before.map(|pause| format!(" (was {})", display::paused(&pause)));
            let what = scope.describe();
            let place = spool.path().display();
            format!("paused   {what} of {place}{}\n", before.unwrap_or_default())
        };
        show(&text, options.json);
    }
    Ok(exit::OK)
}

fn resume_each(options: &ResumeOptions) -> Result<u8, PauseCommandError> {
    let scope = scope(&options.part)?;
    let mut status = exit::NOTHING;
    let (views, unseen) = view_those(paths(&options.spool)?)?;
    views.iter().try_for_each(check_spool)?;
    for view in views {
        let before = read_pauses(&view);
        let is_damaged = matches!(before, Err(PauseError::Damaged { .. }));
        if !is_damaged && before?.iter().next().is_none() {
            // There is nothing to change.
            if !options.json {
                show(&still(&view, &Pauses::default(), Some(scope.describe())), false);
            }
            continue;
        }
        let spool = to_change(&view)?;
        let resumed: Vec<Pause> = if options.all {
            let resumed = resume_all(&spool)?;
            if is_damaged {
                status = exit::OK;
                show(&damaged(&spool, options.json), options.json);
            }
            resumed.iter().cloned().collect()
        } else {
            record_resume(&spool, &scope)?.into_iter().collect()
        };
        for pause in &resumed {
            status = exit::OK;
            let text = if options.json {
                display::json_line(&object(spool.path(), pause))
            } else {
                let place = spool.path().display();
                format!(
                    "resumed  {} of {place} (was {})\n",
                    pause.scope.describe(),
                    display::paused(pause)
                )
            };
            show(&text, options.json);
        }
        let left = read_pauses(spool.view())?;
        if !options.json {
            show(&still(&view, &left, resumed.is_empty().then(|| scope.describe())), false);
        }
    }
    Ok(if unseen == exit::OK { status } else { unseen })
}

fn damaged(spool: &SpoolDir, json: bool) -> String {
    let place = spool.path().display();
    if json {
        return display::json_line(&json!({"spool": place.to_string(), "damaged": true}));
    }
    format!("resumed  everything of {place}; the damaged record is now `.unspool/paused.damaged`\n")
}

/// What else is paused, and what was not.
fn still(spool: &SpoolView, left: &Pauses, not: Option<String>) -> String {
    let place = spool.path().display();
    let not = not.map(|what| format!("nothing  {what} of {place} is not paused\n"));
    let left = left.iter().map(|pause| {
        format!(
            "paused   {} of {place} still is, {}\n",
            pause.scope.describe(),
            display::paused(pause)
        )
    });
    not.into_iter().chain(left).collect()
}

fn list(args: &SpoolArgs, json: bool) -> Result<u8, PauseCommandError> {
    let (spools, opened) = view_those(paths(args)?)?;
    let (mut text, mut failed) = (String::new(), opened);
    for spool in spools {
        match read_pauses(&spool) {
            Ok(pauses) => text.extend(pauses.iter().map(|pause| listed(&spool, pause, json))),
            // What one spool does not tell hides no other.
            Err(error) => {
                complain(&error);
                failed = exit::FAILED;
            }
        }
    }
    let status = if text.is_empty() { exit::NOTHING } else { exit::OK };
    let status = terminal::print(&shown(&text, json), status);
    Ok(exit::worse(status, failed))
}

fn listed(spool: &SpoolView, pause: &Pause, json: bool) -> String {
    if json {
        return display::json_line(&object(spool.path(), pause));
    }
    let place = spool.path().display();
    format!("paused   {} of {place}, {}\n", pause.scope.describe(), display::paused(pause))
}

fn object(spool: &Path, pause: &Pause) -> Value {
    let mut object = display::pause_object(pause);
    object["spool"] = spool.to_string_lossy().into();
    object
}

/// What is for people commands no terminal; JSON stays what it is.
fn shown(text: &str, json: bool) -> String {
    if json { text.to_owned() } else { display::clean_lines(text) }
}

fn show(text: &str, json: bool) {
    // It is done whether or not somebody reads of it.
    let _ = std::io::stdout().write_all(shown(text, json).as_bytes());
}
