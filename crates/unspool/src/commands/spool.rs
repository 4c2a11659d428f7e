//! `unspool spool`: submit a task, to a spool or to another machine.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{KEY_AT, KEY_FUNCTION, KEY_PRIORITY, KEY_SPOOLER};
use unspool_core::{Durability, Message, SpoolBounds, TaskPolicy, UnknownDurability};
use unspool_spool::{
    Access, OpenError, SpoolDir, SubmitError, Submitted, load_keys, submit_measured,
};
use unspool_sys::clock;

use crate::bounds;
use crate::cli::{PolicyOptions, SpoolOptions};
use crate::display::{clean, json_line};
use crate::exit;
use crate::logging::complain_as_asked;
use crate::remote::{self, ToError};
use crate::security::{self, SecurityError};
use crate::spools::{Source, SpoolsError};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or --config FILE";

/// The argument that is the body and no pair, as in a call of `uwsgi.spool`.
const KEY_BODY: &[u8] = b"body";
/// A hundred years.
const SECONDS_MAX: f64 = 3_155_760_000.0;

/// A task that was not submitted from the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum SpoolCommandError {
    #[error("argument `{argument}` is not of the form key=value")]
    Argument { argument: String },
    #[error("argument `spooler={given}` does not choose the spool here: use `--spooler {given}`")]
    Spooler { given: String },
    #[error("`{key}` is given twice: give it once, as an option or as an argument")]
    Twice { key: String },
    #[error("the delay is {seconds}: give seconds, at least 0")]
    Delay { seconds: f64 },
    #[error("`{name}` is {seconds}: give seconds, from 0 to a hundred years")]
    Seconds { name: &'static str, seconds: f64 },
    #[error("cannot read the body from `{path}`")]
    Body { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Durability(#[from] UnknownDurability),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    To(#[from] ToError),
}

impl SpoolCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Security(error) => error.exit_status(),
            Self::Spools(error) => error.exit_status(),
            Self::To(error) => error.exit_status(),
            Self::Submit(
                SubmitError::Io { .. } | SubmitError::Unknown { .. } | SubmitError::Full(_),
            )
            | Self::Body { .. }
            | Self::Open(_) => exit::FAILED,
            _ => exit::USAGE,
        }
    }
}

/// Submits a task and prints its path; if it went to another machine, its id.
pub(crate) fn run(options: &SpoolOptions) -> u8 {
    let done = match &options.to {
        Some(address) => send(options, address),
        None => store(options),
    };
    let line = match done {
        Ok(line) => line,
        Err(error) => {
            complain_as_asked(&error, options.json);
            return error.exit_status();
        }
    };
    // The task is submitted whether or not somebody reads its path.
    let _ = std::io::stdout().write_all(&line);
    exit::OK
}

/// Returns the line that says which task it is.
fn store(options: &SpoolOptions) -> Result<Vec<u8>, SpoolCommandError> {
    let Found { directory, durability, access, keys, bounds } = find_spool(options)?;
    let durability = options.durability.as_deref().unwrap_or(&durability).parse::<Durability>()?;
    let message = message(options)?;
    let keys = own_keys(options)?.or(keys);
    let spool = SpoolDir::open_with(&directory, &access)?.sign_with(keys).bounded(bounds);
    let Submitted { path, id, .. } = submit_measured(&spool, &message, durability)?;
    if options.json {
        let path = path.to_string_lossy();
        return Ok(json_line(&json!({ "path": path, "id": id.to_string() })).into_bytes());
    }
    // A program gets it as it is, a person without what would command the terminal.
    Ok(if std::io::stdout().is_terminal() {
        (clean(&path.to_string_lossy()) + "\n").into_bytes()
    } else {
        [path.as_os_str().as_bytes(), b"\n"].concat()
    })
}

/// Returns the line that says which task it is: empty for a real uWSGI, which tells no id.
fn send(options: &SpoolOptions, address: &str) -> Result<Vec<u8>, SpoolCommandError> {
    let config = match Source::find(None, options.config.as_deref(), WAYS) {
        Ok(source) => source.config(),
        Err(SpoolsError::None { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let keys = match (own_keys(options)?, config.as_deref()) {
        (Some(keys), _) => Some(keys),
        (None, Some(config)) => security::keys(config)?,
        (None, None) => None,
    };
    let message = message(options)?;
    let to = remote::remote(address, &options.remote, config.as_deref(), keys)?;
    let sent = unspool_remote::submit(&to, &message).map_err(ToError::from)?;
    let id = sent.id.map(|id| id.to_string());
    if options.json {
        let shown = json!({ "address": to.address.to_string(), "id": id });
        return Ok(json_line(&shown).into_bytes());
    }
    Ok(id.map_or_else(Vec::new, |id| format!("{id}\n").into_bytes()))
}

fn own_keys(options: &SpoolOptions) -> Result<Option<Arc<Keyring>>, SpoolCommandError> {
    let load = |file: &PathBuf| load_keys(file).map(Arc::new).map_err(SecurityError::from);
    Ok(options.keys.as_ref().map(load).transpose()?)
}

/// The spool's directory, and what its configuration says of it.
struct Found {
    directory: PathBuf,
    durability: String,
    access: Access,
    keys: Option<Arc<Keyring>>,
    bounds: SpoolBounds,
}

impl Found {
    /// Without a configuration.
    fn plain(directory: PathBuf) -> Self {
        Self {
            directory,
            durability: "group".to_owned(),
            access: Access::default(),
            keys: None,
            bounds: SpoolBounds::default(),
        }
    }
}

fn find_spool(options: &SpoolOptions) -> Result<Found, SpoolCommandError> {
    let (file, config) =
        match Source::find(options.spooler.as_deref(), options.config.as_deref(), WAYS)? {
            Source::Directory(directory) => return Ok(Found::plain(directory)),
            Source::Config(file, loaded) => (file, loaded.config),
        };
    let first = config.spoolers.first().ok_or(SpoolsError::NoneInConfig { file })?;
    Ok(Found {
        directory: first.path.clone(),
        access: security::access(&config)?,
        bounds: bounds::own(&config.bounds),
        keys: if options.keys.is_none() { security::keys(&config)? } else { None },
        durability: config.spooler_durability,
    })
}

fn message(options: &SpoolOptions) -> Result<Message, SpoolCommandError> {
    let mut pairs = vec![(KEY_FUNCTION.to_vec(), options.function.clone().into_bytes())];
    for argument in &options.arguments {
        let bytes = argument.as_bytes();
        let at = bytes.iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or_else(|| {
            SpoolCommandError::Argument { argument: argument.to_string_lossy().into_owned() }
        })?;
        pairs.push((bytes[..at].to_vec(), bytes[at + 1..].to_vec()));
    }
    if let Some(at) = at(options)? {
        pairs.push((KEY_AT.to_vec(), at.into_bytes()));
    }
    if let Some(priority) = &options.priority {
        pairs.push((KEY_PRIORITY.to_vec(), priority.clone().into_bytes()));
    }
    if let Some(path) = &options.body {
        pairs.push((KEY_BODY.to_vec(), read_body(path)?));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (number, (key, value)) in pairs.iter().enumerate() {
        // From Python it chooses among the configured spools; here it would be a pair that is
        // obeyed nowhere.
        if key == KEY_SPOOLER {
            return Err(SpoolCommandError::Spooler { given: text(value) });
        }
        if pairs[..number].iter().any(|(earlier, _)| earlier == key) {
            return Err(SpoolCommandError::Twice { key: text(key) });
        }
    }
    let body = pairs.iter().position(|(key, _)| key == KEY_BODY);
    let body = body.map(|at| pairs.remove(at).1).unwrap_or_default();
    Ok(Message { pairs, body, policy: policy(&options.policy)?, ..Message::default() })
}

fn at(options: &SpoolOptions) -> Result<Option<String>, SpoolCommandError> {
    let Some(seconds) = options.delay else { return Ok(options.at.clone()) };
    if !(0.0..1e9).contains(&seconds) {
        return Err(SpoolCommandError::Delay { seconds });
    }
    let due_ns = clock::now_ns() + (seconds * 1e9) as i64;
    Ok(Some(format!("{}.{:09}", due_ns / 1_000_000_000, due_ns % 1_000_000_000)))
}

fn policy(options: &PolicyOptions) -> Result<TaskPolicy, SpoolCommandError> {
    let ms = |name, seconds: Option<f64>| match seconds {
        Some(seconds) if !(0.0..SECONDS_MAX).contains(&seconds) => {
            Err(SpoolCommandError::Seconds { name, seconds })
        }
        other => Ok(other.map(|seconds| (seconds * 1e3).round() as u64)),
    };
    let now_ms = u64::try_from(clock::now_ns() / 1_000_000).unwrap_or(0);
    Ok(TaskPolicy {
        attempts: options.max_attempts,
        deaths: options.max_deaths,
        retries: options.max_retries,
        delay_ms: ms("--retry-delay", options.retry_delay)?,
        backoff_from: options.backoff_from,
        delay_max_ms: ms("--backoff-max", options.backoff_max)?,
        soft_limit_ms: ms("--soft-time-limit", options.soft_time_limit)?,
        time_limit_ms: ms("--time-limit", options.time_limit)?,
        expires_ms: ms("--expires", options.expires)?.map(|ms| now_ms + ms),
    })
}

fn read_body(path: &Path) -> Result<Vec<u8>, SpoolCommandError> {
    let fail = |source| SpoolCommandError::Body { path: path.to_owned(), source };
    if path != Path::new("-") {
        return std::fs::read(path).map_err(fail);
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).map_err(fail)?;
    Ok(body)
}
