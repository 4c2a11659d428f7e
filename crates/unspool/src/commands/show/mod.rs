//! `unspool show`: everything that the files say of one task. Runs nothing of it and changes nothing.

mod json;
mod policy;
mod text;

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unspool_config::Environment;
use unspool_core::taskfile::{Malformed, TaskFile, signer, verify};
use unspool_spool::{AdoptError, Attempt, Capsule, Pause, TaskSummary, read_attempts};
use unspool_sys::clock;

use crate::arguments::Arguments;
use crate::cli::ShowOptions;
use crate::logging::complain;
use crate::tasks::{self, FoundTask, Looked, TaskError};
use crate::{exit, security};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ShowError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is gone, or may not be read")]
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
    /// What keeps it from running.
    pauses: Vec<&'a Pause>,
    now_ns: i64,
    /// Its file; an error says why it is no whole task.
    task: Result<TaskFile<'a>, Malformed>,
    arguments: Option<Arguments>,
    signature: Option<Signature>,
    /// The oldest first.
    history: Vec<Attempt>,
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
        let last = self.history.last().map_or(0, |attempt| attempt.attempt);
        last.max(u32::from(self.seen.attempts))
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
        Ok(()) => exit::OK,
        // Who reads on does not want more.
        Err(ShowError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(options: &ShowOptions) -> Result<(), ShowError> {
    let FoundTask { view, listed, config } = tasks::find(&options.spool, &options.task)?;
    let path = listed.whereabouts().path(&view);
    let read = |source| ShowError::Read { path: path.clone(), source };
    let gone = || ShowError::Gone { path: path.clone() };
    if options.capsule {
        let capsule = Capsule::of(&view, &listed).map_err(read)?.ok_or_else(gone)?;
        let text = serde_json::to_string_pretty(&capsule).map_err(ShowError::Capsule)?;
        return print(format!("{text}\n").as_bytes());
    }
    let now_ns = clock::now_ns();
    let looked = Looked::at(view)?;
    let seen = looked.inspect(&listed, now_ns).map_err(read)?.ok_or_else(gone)?;
    let (_, content) = listed.read().map_err(read)?.ok_or_else(gone)?;
    let task = TaskFile::parse(&content);
    if options.body || options.raw.is_some() {
        let task = task.map_err(|source| ShowError::Malformed { path: path.clone(), source })?;
        let key = options.raw.as_deref().map(OsStrExt::as_bytes);
        return print(value(&task, key).ok_or_else(|| missing(&path, key))?);
    }
    let signature = signer(&content).map(|key| Signature {
        key: String::from_utf8_lossy(key).into_owned(),
        // Keys that may not be read are none.
        holds: config
            .and_then(|config| security::keys(&config).ok().flatten())
            .map(|keys| verify(&content, &keys).is_ok()),
    });
    let known = Known {
        path: &path,
        spool: looked.view.path(),
        arguments: task.as_ref().ok().map(|task| Arguments::of(task, options.show_secrets)),
        history: read_attempts(&looked.view, listed.name()).map_err(read)?,
        pauses: looked.paused(&seen).collect(),
        seen: &seen,
        now_ns,
        task,
        signature,
    };
    if options.json {
        return print(format!("{:#}\n", json::json(&known)).as_bytes());
    }
    let coloured = io::stdout().is_terminal() && Environment::current().wants_colour();
    print(text::text(&known, coloured).as_bytes())
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

fn print(bytes: &[u8]) -> Result<(), ShowError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(ShowError::Print)
}
