//! `unspool replay`: the call of a task once more, where one can watch it.
//!
//! The task comes from a spool or from a capsule, and stays as it is. Its process becomes Python, so
//! that a debugger has the terminal.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use unspool_config::{Config, ConfigError, without_secrets};
use unspool_core::taskfile::{BadSignature, TaskFile, verify};
use unspool_spool::{Capsule, CapsuleError, Refused};
use unspool_sys::file::stat_file;
use unspool_sys::folder::Stat;
use unspool_sys::host;

use crate::application::{Application, ApplicationError, without_configuration};
use crate::cli::ReplayOptions;
use crate::exit;
use crate::logging::{complain_as_asked, complain_text};
use crate::security::{self, SecurityError};
use crate::setup::{self, SetupError};
use crate::spools::{Source, SpoolsError};
use crate::tasks::{self, FoundTask, TaskError};

/// Bytes of a capsule: those of the largest task in base64, and of its record.
const CAPSULE_BYTES_MAX: u64 = 2 * unspool_core::limits::TASK_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ReplayError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Application(#[from] ApplicationError),
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a task file")]
    Malformed { path: PathBuf, source: unspool_core::taskfile::Malformed },
    #[error("`{path}`")]
    Capsule { path: PathBuf, source: CapsuleError },
    #[error("the task is refused; give --trust to run it nevertheless")]
    Refused(#[from] Refused),
    #[error("the task is refused; give --trust to run it nevertheless")]
    Unsigned(#[source] BadSignature),
    #[error("{0}; or give --trust, if you know who wrote it")]
    Pickles(String),
    #[error(
        "the arguments are pickled, which can run any code, and nobody knows whose standard input \
         is: give --trust, or the capsule as a file"
    )]
    Piped,
    #[error(
        "--pdb reads its commands from a terminal, and standard input is the capsule: give the capsule as a \
         file, or run this where there is a terminal"
    )]
    NoTerminal(#[source] io::Error),
    #[error(
        "nothing says which module has the task's function: give --config FILE or --import MODULE"
    )]
    NoModule,
}

impl ReplayError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Task(error) => error.exit_status(),
            Self::Spools(error) => error.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::Setup(error) => error.exit_status(),
            Self::Application(error) => error.exit_status(),
            Self::Config(_) | Self::NoModule | Self::NoTerminal(_) => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// A task to run.
struct Replayed {
    name: String,
    content: Vec<u8>,
    /// The file that it came in; `None`: standard input.
    stat: Option<Stat>,
    /// Whose task it was, as a capsule says.
    submitter: Option<u32>,
    /// The folder in which it lies, where tasks run.
    folder: Option<PathBuf>,
    spool: Option<PathBuf>,
}

/// Becomes the call; returns only what kept it from that.
pub(crate) fn run(options: &ReplayOptions) -> u8 {
    let Err(error) = try_run(options);
    complain_as_asked(&error, options.json);
    error.exit_status()
}

fn try_run(options: &ReplayOptions) -> Result<std::convert::Infallible, ReplayError> {
    let source = tasks::source(&options.spool)?;
    // What the debugger is told cannot come from where the capsule did.
    let piped = options.capsule.as_deref().is_some_and(is_standard_input);
    let terminal = (options.pdb && piped)
        .then(|| File::options().read(true).write(true).open("/dev/tty"))
        .transpose()
        .map_err(ReplayError::NoTerminal)?;
    let capsule = options.capsule.as_deref().map(of_capsule).transpose()?;
    if let Some(Source::Config(_, loaded)) = &source {
        // What the application does, and whom it trusts, depends on who it is.
        setup::take_on_user(&loaded.config.daemon)?;
    }
    let (task, config) = match (capsule, source) {
        (Some(capsule), source) => (capsule, source.and_then(Source::config)),
        (None, source) => of_spool(options, source)?,
    };
    let config = match config {
        Some(config) => *config,
        None => without_configuration(task.spool.as_deref())?,
    };
    if !options.trust {
        check(&config, &task)?;
    }
    let mut application = Application::of(&config)?;
    for module in &options.import {
        application.import(module);
    }
    if !application.imports_anything() {
        match TaskFile::parse(&task.content).map(|task| task.module) {
            Ok(module) if !module.is_empty() => {
                application.import(&String::from_utf8_lossy(module));
            }
            _ => return Err(ReplayError::NoModule),
        }
    }
    let job = json!({
        "deed": "replay",
        "name": task.name,
        "task": BASE64_STANDARD.encode(&task.content),
        "folder": task.folder,
        "pdb": options.pdb,
        "dry_run": options.dry_run,
        "json": options.json,
    });
    let (mut program, _document) = application.program(&job)?;
    if let Some(terminal) = terminal {
        program.stdin(terminal);
    }
    Err(application.not_started(program.exec()).into())
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn of_capsule(path: &Path) -> Result<Replayed, ReplayError> {
    let read = |source| ReplayError::Read { path: path.to_owned(), source };
    let (stat, text) = if is_standard_input(path) {
        let mut text = Vec::new();
        io::stdin().lock().take(CAPSULE_BYTES_MAX).read_to_end(&mut text).map_err(read)?;
        (None, text)
    } else {
        let file = File::open(path).map_err(read)?;
        let stat = stat_file(file.as_fd()).map_err(read)?;
        let mut text = Vec::new();
        file.take(CAPSULE_BYTES_MAX).read_to_end(&mut text).map_err(read)?;
        (Some(stat), text)
    };
    let capsule = Capsule::parse(&text)
        .map_err(|source| ReplayError::Capsule { path: path.to_owned(), source })?;
    if let Some(attempt) = capsule.attempts.last() {
        complain_text(&format!(
            "replaying {}, which failed {} time(s), last with: {}",
            capsule.name,
            capsule.attempts.len(),
            without_secrets(&attempt.error)
        ));
    }
    Ok(Replayed {
        name: capsule.name,
        content: capsule.task,
        stat,
        submitter: Some(capsule.owner),
        folder: None,
        spool: None,
    })
}

fn of_spool(
    options: &ReplayOptions,
    source: Option<Source>,
) -> Result<(Replayed, Option<Box<Config>>), ReplayError> {
    let given = options.task.as_deref().unwrap_or_default();
    let FoundTask { view, listed, config } = tasks::find_in(source, given)?;
    let path = listed.whereabouts().path(&view);
    let (stat, content) = listed
        .read()
        .map_err(|source| ReplayError::Read { path: path.clone(), source })?
        .ok_or_else(|| TaskError::nowhere(given, std::slice::from_ref(&view)))?;
    if let Err(source) = TaskFile::parse(&content) {
        return Err(ReplayError::Malformed { path, source });
    }
    let task = Replayed {
        name: String::from_utf8_lossy(listed.name()).into_owned(),
        content,
        stat: Some(stat),
        submitter: None,
        folder: path.parent().map(Path::to_owned),
        spool: Some(view.path().to_owned()),
    };
    Ok((task, config))
}

/// Whether the task would run, and its arguments be loaded, in a worker of this user's.
fn check(config: &Config, task: &Replayed) -> Result<(), ReplayError> {
    let pickled = TaskFile::parse(&task.content).is_ok_and(|task| {
        let has = |wanted: &[u8]| task.fields().any(|(key, _)| key == wanted);
        has(b"args") && has(b"kwargs")
    });
    let trust = security::trust(config)?;
    let Some(stat) = &task.stat else {
        return match &trust.keys {
            Some(keys) => verify(&task.content, keys).map_err(ReplayError::Unsigned),
            None if pickled => Err(ReplayError::Piped),
            None => Ok(()),
        };
    };
    let standing = trust.admit(&task.content, stat)?;
    let mut refused = trust.refuse_pickles(standing, host::uid());
    if let Some(owner) = task.submitter {
        // Whoever made the capsule has made another user's task no safer.
        let theirs = trust.admit(&task.content, &Stat { owner, ..*stat })?;
        refused = refused.or_else(|| trust.refuse_pickles(theirs, host::uid()));
    }
    match refused {
        Some(why) if pickled => Err(ReplayError::Pickles(why)),
        _ => Ok(()),
    }
}
