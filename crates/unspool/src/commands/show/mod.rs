//! `unspool show`: everything that the files say of one task. Runs nothing of it and changes nothing.

mod json;
mod policy;
mod text;

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unspool_config::Environment;
use unspool_core::Priority;
use unspool_core::taskfile::{Malformed, TaskFile, signer, verify};
use unspool_spool::{Attempt, Capsule, Pause, TaskState, TaskSummary, Whereabouts, view_attempts};
use unspool_sys::clock;

use crate::arguments::Arguments;
use crate::cli::ShowOptions;
use crate::display::{json_block, json_escaped};
use crate::logging::complain;
use crate::tasks::{self, FoundTask, Looked, TaskError, failed};
use crate::{exit, security};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ShowError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is gone")]
    Gone { path: PathBuf },
    #[error("`{path}` is no whole task")]
    Malformed { path: PathBuf, source: Malformed },
    #[error("`{path}` has no {what}")]
    Missing { path: PathBuf, what: String },
    #[error("cannot make the capsule")]
    Capsule(#[source] serde_json::Error),
    #[error("cannot print the task")]
    Print(#[source] io::Error),
}

impl ShowError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Task(error) => error.exit_status(),
            Self::Gone { .. } | Self::Missing { .. } => exit::NOTHING,
            _ => exit::FAILED,
        }
    }
}

/// What is known of a task.
struct Known<'a> {
    path: &'a Path,
    spool: &'a Path,
    seen: &'a TaskSummary,
    /// Where it lies, or came from.
    priority: Option<Priority>,
    /// What keeps it from running; `None` if that is not known.
    pauses: Option<Vec<&'a Pause>>,
    now_ns: i64,
    /// Its file; an error says why it is no whole task.
    task: Result<TaskFile<'a>, Malformed>,
    arguments: Option<Arguments>,
    signature: Option<Signature>,
    /// The oldest first.
    history: Vec<Attempt>,
    /// Of a task in an outbox: where it goes, and what becomes of that.
    relay: Option<(String, String)>,
}

/// Who signed a task, as it says itself, and whether that is so: `None` if no key to check it with is
/// known here.
struct Signature {
    key: String,
    holds: Option<bool>,
}

impl Known<'_> {
    /// How often it failed.
    fn failed(&self) -> u32 {
        failed(self.seen, self.history.last())
    }

    /// The module of its function.
    fn module(&self) -> Option<String> {
        let module = self.task.as_ref().ok()?.module;
        (!module.is_empty()).then(|| String::from_utf8_lossy(module).into_owned())
    }
}

/// Shows a task.
pub(crate) fn run(options: &ShowOptions) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        // Who reads on does not want more.
        Err(ShowError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(options: &ShowOptions) -> Result<u8, ShowError> {
    let FoundTask { view, listed, config } = tasks::find(&options.spool, &options.task)?;
    let path = listed.whereabouts().path(&view);
    let read = |source| ShowError::Read { path: path.clone(), source };
    let gone = || ShowError::Gone { path: path.clone() };
    if options.capsule {
        let capsule = Capsule::of(&view, &listed).map_err(read)?.ok_or_else(gone)?;
        let text = serde_json::to_string_pretty(&capsule).map_err(ShowError::Capsule)?;
        return print(json_escaped(text + "\n").as_bytes(), exit::OK);
    }
    let now_ns = clock::now_ns();
    let looked = Looked::at(view);
    let seen = looked.inspect(&listed, now_ns).map_err(read)?.ok_or_else(gone)?;
    let content = match listed.read() {
        // It is told what else is known of it.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
        content => Some(content.map_err(read)?.ok_or_else(gone)?.1),
    };
    let bytes = seen.stat.bytes;
    let task = content.as_deref().map_or(Err(Malformed::Long { bytes }), TaskFile::parse);
    let content = content.as_deref().unwrap_or_default();
    if options.body || options.raw.is_some() {
        let task = task.map_err(|source| ShowError::Malformed { path: path.clone(), source })?;
        let key = options.raw.as_deref().map(OsStrExt::as_bytes);
        return print(value(&task, key).ok_or_else(|| missing(&path, key))?, exit::OK);
    }
    let signature = signer(content).map(|key| Signature {
        key: String::from_utf8_lossy(key).into_owned(),
        // Keys that may not be read are none.
        holds: config
            .and_then(|config| security::keys(&config).ok().flatten())
            .map(|keys| verify(content, &keys).is_ok()),
    });
    let mut status = looked.complain();
    let (history, unread) = if options.show_secrets {
        view_attempts(&looked.view, listed.name())
    } else {
        tasks::shown_attempts(&looked.view, listed.name())
    };
    for error in &unread {
        complain(error);
        status = exit::FAILED;
    }
    let relay = looked.relay.as_ref().map(|(relay, lives)| {
        let is_locked = seen.state == TaskState::Running;
        (relay.address.clone(), tasks::relayed(relay, *lives, is_locked))
    });
    let known = Known {
        relay: relay.filter(|_| matches!(seen.whereabouts, Whereabouts::Pending(_))),
        path: &path,
        spool: looked.view.path(),
        arguments: task.as_ref().ok().map(|task| Arguments::of(task, options.show_secrets)),
        priority: looked.priority(&seen.whereabouts),
        history,
        pauses: looked.pauses.is_ok().then(|| looked.paused(&seen).collect()),
        seen: &seen,
        now_ns,
        task,
        signature,
    };
    if options.json {
        return print(json_block(&json::json(&known)).as_bytes(), status);
    }
    let coloured = io::stdout().is_terminal() && Environment::current().wants_colour();
    print(text::text(&known, coloured).as_bytes(), status)
}

/// The last value of a key, or the body.
fn value<'a>(task: &TaskFile<'a>, key: Option<&[u8]>) -> Option<&'a [u8]> {
    match key {
        None => (!task.body.is_empty()).then_some(task.body),
        Some(key) => task.fields().filter(|(k, _)| *k == key).last().map(|(_, value)| value),
    }
}

fn missing(path: &Path, key: Option<&[u8]>) -> ShowError {
    let what = match key {
        None => "body".to_owned(),
        Some(key) => format!("value of `{}`", String::from_utf8_lossy(key)),
    };
    ShowError::Missing { path: path.to_owned(), what }
}

fn print(bytes: &[u8], status: u8) -> Result<u8, ShowError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(ShowError::Print)?;
    Ok(status)
}
