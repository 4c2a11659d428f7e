//! `unspool edit`: a task that does not run gets other arguments, another body or due time.

mod change;
mod editor;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::Malformed;
use unspool_spool::{
    Edit, EditError, Editing, Kept, Relocated, Relocation, SpoolDir, Whereabouts, load_keys,
    relocate,
};
use unspool_sys::folder::Stat;

use self::change::{Change, InvalidChange};
use self::editor::EditorError;
use super::mv::due_ns;
use crate::cli::EditOptions;
use crate::display;
use crate::exit;
use crate::logging::{complain, with_causes};
use crate::security::SecurityError;
use crate::tasks::{Finder, FinderError};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum EditCommandError {
    #[error(transparent)]
    Finder(#[from] FinderError),
    #[error(transparent)]
    Keys(#[from] SecurityError),
    #[error(transparent)]
    Change(#[from] InvalidChange),
    #[error(transparent)]
    Editor(#[from] EditorError),
    #[error("nothing to change: give key=value, --unset, --body, --at, --delay or --editor")]
    Nothing,
    #[error("there is no task `{task}`, or no more")]
    Gone { task: String },
    #[error("`{path}` is corrupt: a file of which nobody knows what it says cannot be edited")]
    Corrupt { path: String },
    #[error("`{path}` was given up and has no due time: `unspool retry` makes it pending, due now")]
    DueOfDead { path: String },
    #[error("`{path}` runs, or somebody else has it locked: it cannot be edited meanwhile")]
    Held { path: String },
    #[error("`{path}` was changed by somebody else while the editor was open: nothing is changed")]
    Changed { path: String },
    #[error("`{path}` is damaged")]
    Damaged { path: String, source: Malformed },
    #[error("what you typed is kept in `{typed}`, and nothing is changed")]
    Kept {
        typed: PathBuf,
        #[source]
        error: Box<EditCommandError>,
    },
    #[error("cannot read the body from `{path}`")]
    Body { path: PathBuf, source: io::Error },
    #[error("cannot edit `{path}`")]
    Open { path: String, source: io::Error },
    #[error("cannot edit `{path}`")]
    Edit {
        path: String,
        #[source]
        error: EditError,
    },
    #[error("`{path}`")]
    NotDurable {
        path: String,
        #[source]
        error: EditError,
    },
}

impl EditCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Finder(error) => error.exit_status(),
            Self::Kept { error, .. } => error.exit_status(),
            Self::Keys(error) => error.exit_status(),
            Self::Change(_)
            | Self::Nothing
            | Self::DueOfDead { .. }
            | Self::Edit { error: EditError::NoKey { .. } | EditError::Message(_), .. } => {
                exit::USAGE
            }
            Self::Gone { .. } | Self::Corrupt { .. } => exit::NOTHING,
            Self::Held { .. } => exit::HELD,
            _ => exit::FAILED,
        }
    }
}

/// Edits a task and says so.
pub(crate) fn run(options: &EditOptions) -> u8 {
    let given = options.task.to_string_lossy();
    let (text, status) = match try_run(options) {
        Ok((path, became)) if options.json => {
            (display::json_line(&json!({"task": given, "path": path, "became": became})), exit::OK)
        }
        Ok((path, became)) => (format!("{became:8}  {}\n", display::clean(&path)), exit::OK),
        Err(error) => {
            complain(&error);
            let row = json!({"task": given, "error": with_causes(&error)});
            (
                if options.json { display::json_line(&row) } else { String::new() },
                error.exit_status(),
            )
        }
    };
    // It is done whether or not somebody reads of it.
    let _ = io::stdout().write_all(text.as_bytes());
    status
}

/// The task's path, and what became of it.
fn try_run(options: &EditOptions) -> Result<(String, &'static str), EditCommandError> {
    let mut change = Change::of(&options.arguments, &options.unset)?;
    change.due_ns = due_ns(options.at, options.delay);
    if let Some(path) = &options.body {
        change.body = Some(read_body(path)?);
    }
    if !options.editor && !change.is_of_content() && change.due_ns.is_none() {
        return Err(EditCommandError::Nothing);
    }
    let mut finder = Finder::new(&options.spool);
    if options.keys.is_none()
        && let Err(error) = finder.all()
        && options.spool.config.is_some()
    {
        return Err(error.into());
    }
    let given = || EditCommandError::Gone { task: options.task.to_string_lossy().into_owned() };
    let found = finder.find(&options.task)?.map(|(spool, task)| (spool.path().to_owned(), task));
    let (spool, task) = found.ok_or_else(given)?;
    let keys = match &options.keys {
        Some(file) => Some(Arc::new(load_keys(file).map_err(SecurityError::from)?)),
        None => finder.keys()?,
    };
    let spool = SpoolDir::open(&spool)
        .map_err(|error| FinderError::Spools(crate::spools::SpoolsError::Open(error)))?;
    let path = task.path(spool.view()).to_string_lossy().into_owned();
    match &task {
        Whereabouts::Kept(Kept::Corrupt, _) => return Err(EditCommandError::Corrupt { path }),
        Whereabouts::Kept(Kept::Dead, _) if change.due_ns.is_some() => {
            return Err(EditCommandError::DueOfDead { path });
        }
        _ => {}
    }
    if options.editor {
        return by_editor(&spool, &task, path, change.due_ns, keys.as_deref());
    }
    if change.is_of_content() {
        let edit = begin(&spool, &task, &path)?;
        commit(*edit, change, path, keys.as_deref())
    } else {
        postpone(&spool, &task, path, change.due_ns)
    }
}

fn by_editor(
    spool: &SpoolDir,
    task: &Whereabouts,
    path: String,
    due_ns: Option<i64>,
    keys: Option<&Keyring>,
) -> Result<(String, &'static str), EditCommandError> {
    let seen = begin(spool, task, &path)?;
    let stat = *seen.stat();
    let damaged = |source| EditCommandError::Damaged { path: path.clone(), source };
    let message = seen.message().map_err(damaged)?;
    seen.check_owner().map_err(|error| EditCommandError::Edit { path: path.clone(), error })?;
    // It may run while somebody thinks.
    drop(seen);
    let Some((mut change, typed)) = editor::edit(&message)? else {
        return Ok((path, "unchanged"));
    };
    change.due_ns = due_ns;
    let done = begin(spool, task, &path).and_then(|edit| {
        if !is_same(&stat, edit.stat()) {
            return Err(EditCommandError::Changed { path });
        }
        commit(*edit, change, path, keys)
    });
    match done {
        Ok(_) | Err(EditCommandError::NotDurable { .. }) => typed.remove(),
        Err(error) => {
            return Err(EditCommandError::Kept { typed: typed.path, error: Box::new(error) });
        }
    }
    done
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.device, one.inode, one.bytes, one.mtime_ns)
        == (other.device, other.inode, other.bytes, other.mtime_ns)
}

fn begin(spool: &SpoolDir, task: &Whereabouts, path: &str) -> Result<Box<Edit>, EditCommandError> {
    let path = path.to_owned();
    match Edit::begin(spool, task) {
        Ok(Editing::Task(edit)) => Ok(edit),
        Ok(Editing::Gone) => Err(EditCommandError::Gone { task: path }),
        Ok(Editing::Held(_)) => Err(EditCommandError::Held { path }),
        Err(source) => Err(EditCommandError::Open { path, source }),
    }
}

fn commit(
    edit: Edit,
    change: Change,
    path: String,
    keys: Option<&Keyring>,
) -> Result<(String, &'static str), EditCommandError> {
    let damaged = |source| EditCommandError::Damaged { path: path.clone(), source };
    let mut message = edit.message().map_err(damaged)?;
    let due_ns = change.make(&mut message)?;
    match edit.commit(&message, due_ns, keys) {
        Ok(()) => Ok((path, "edited")),
        Err(error @ EditError::NotDurable(_)) => Err(EditCommandError::NotDurable { path, error }),
        Err(error) => Err(EditCommandError::Edit { path, error }),
    }
}

/// Nothing but the due time: the file stays.
fn postpone(
    spool: &SpoolDir,
    task: &Whereabouts,
    path: String,
    due_ns: Option<i64>,
) -> Result<(String, &'static str), EditCommandError> {
    let Whereabouts::Pending(place) = task else {
        return Err(EditCommandError::DueOfDead { path });
    };
    match relocate(spool, place, &Relocation { priority: None, due_ns }) {
        Ok(Relocated::Done(_) | Relocated::Taken(_)) => Ok((path, "moved")),
        Ok(Relocated::Gone) => Err(EditCommandError::Gone { task: path }),
        Ok(Relocated::Held(_)) => Err(EditCommandError::Held { path }),
        Err(source) => Err(EditCommandError::Open { path, source }),
    }
}

fn read_body(path: &Path) -> Result<Vec<u8>, EditCommandError> {
    let fail = |source| EditCommandError::Body { path: path.to_owned(), source };
    if path != Path::new("-") {
        return std::fs::read(path).map_err(fail);
    }
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body).map_err(fail)?;
    Ok(body)
}
