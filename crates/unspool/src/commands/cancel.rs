//! `unspool cancel`: tasks that nobody wants any more.
//!
//! A pending one is removed without a daemon. Of one that a daemon has, that daemon is asked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use unspool_core::InvalidPriority;
use unspool_spool::{
    Became, CancelError, Cancellation, FindError, Kept, Removal, Shelves, SpoolDir, Whereabouts,
    discard, list,
};

use crate::cli::CancelOptions;
use crate::display;
use crate::exit;
use crate::logging::{complain, with_causes};
use crate::spools::{SpoolsError, to_change};
use crate::tasks::{Filter, Finder, FinderError, Judged, Unread};
use crate::terminal::progress;

/// How long one step of waiting takes; nothing else is done in between.
const STEP: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum CancelCommandError {
    #[error(transparent)]
    Finder(#[from] FinderError),
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Cancel(#[from] CancelError),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("--priority")]
    Priority(#[from] InvalidPriority),
    #[error("filters choose among all tasks: give --all, or leave them out")]
    FilterWithoutAll,
    #[error("--all cancels many tasks: give --yes, too; `unspool purge --dry-run` counts them")]
    NotSure,
    #[error("cannot delete `{path}`")]
    Delete { path: PathBuf, source: io::Error },
    #[error("cannot delete `{path}`: somebody has it locked; wait until it is let go")]
    Held { path: PathBuf },
}

impl CancelCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Cancel(CancelError::Foreign { .. } | CancelError::Unknown { .. })
            | Self::Held { .. } => exit::HELD,
            Self::Finder(error) => error.exit_status(),
            Self::Spools(error) => error.exit_status(),
            Self::Cancel(CancelError::Grace { .. })
            | Self::Priority(_)
            | Self::FilterWithoutAll
            | Self::NotSure => exit::USAGE,
            Self::Cancel(_) | Self::Unread(_) | Self::Delete { .. } => exit::FAILED,
        }
    }
}

impl CancelOptions {
    /// Whether files that are kept there are deleted.
    fn takes(&self, kept: Kept) -> bool {
        match kept {
            Kept::Dead => self.dead,
            Kept::Corrupt => self.corrupt,
        }
    }
}

/// What became of a task, and where it lay if it was found.
struct Done {
    became: Became,
    path: Option<PathBuf>,
}

/// Cancels each task, also after one that fails.
pub(crate) fn run(options: &CancelOptions) -> u8 {
    let mut told = Told { status: exit::OK, rows: Vec::new(), text: String::new() };
    let ended = if options.all { all(options, &mut told) } else { named(options, &mut told) };
    let mut answer = json!({ "tasks": told.rows });
    if let Err(error) = ended {
        complain(&error);
        told.status = exit::worse(told.status, error.exit_status());
        // What was cancelled before is told all the same.
        answer["error"] = with_causes(&error).into();
    }
    if options.json {
        told.text = display::json_block(&answer);
    }
    // It is done whether or not somebody reads of it.
    let _ = std::io::stdout().write_all(told.text.as_bytes());
    told.status
}

fn named(options: &CancelOptions, told: &mut Told) -> Result<(), CancelCommandError> {
    if !options.filter.is_empty() {
        return Err(CancelCommandError::FilterWithoutAll);
    }
    let mut finder = Finder::new(&options.spool);
    for given in &options.tasks {
        let done = match finder.find(given) {
            Ok(Some((spool, task))) => cancel(options, spool, task),
            Ok(None) => Ok(Done { became: Became::Gone, path: None }),
            Err(error) => Err(error.into()),
        };
        told.add(&given.to_string_lossy(), done);
    }
    Ok(())
}

fn all(options: &CancelOptions, told: &mut Told) -> Result<(), CancelCommandError> {
    if !options.yes {
        return Err(CancelCommandError::NotSure);
    }
    let filter = Filter::new(&options.filter)?;
    let shelves = Shelves { pending: true, dead: options.dead, corrupt: options.corrupt };
    let bar = progress("cancelling");
    for view in Finder::new(&options.spool).all()? {
        let spool = &to_change(view)?;
        let mut unread = 0;
        for file in list(spool.view(), shelves) {
            let fail = |source| {
                let spool = spool.path().to_owned();
                CancelCommandError::from(FinderError::from(FindError::Io { spool, source }))
            };
            match file.and_then(|file| Ok((filter.judge(spool.view(), &file)?, file))) {
                Ok((Judged::Other, _)) => continue,
                Ok((Judged::Unread, _)) => unread += 1,
                Ok((Judged::Meant(_), file)) => {
                    let path = file.whereabouts().path(spool.view());
                    let done = cancel(options, spool, file.into_whereabouts());
                    bar.suspend(|| told.add(&path.to_string_lossy(), done));
                }
                Err(error) => bar.suspend(|| told.add("", Err(fail(error)))),
            }
            bar.inc(1);
        }
        if unread > 0 {
            let spool = spool.path().to_owned();
            let error = Unread { spool, tasks: unread };
            bar.suspend(|| told.add("", Err(error.into())));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What is said of all.
struct Told {
    status: u8,
    rows: Vec<serde_json::Value>,
    text: String,
}

impl Told {
    fn add(&mut self, given: &str, done: Result<Done, CancelCommandError>) {
        self.status = exit::worse(
            self.status,
            match &done {
                Ok(done) if matches!(done.became, Became::Gone | Became::Kept(_)) => exit::NOTHING,
                Ok(_) => exit::OK,
                Err(error) => error.exit_status(),
            },
        );
        match done {
            Ok(Done { became, path }) => {
                let path = path.map(|path| path.to_string_lossy().into_owned());
                let shown = display::clean(path.as_deref().unwrap_or(given));
                self.text.push_str(&line(became, &shown));
                self.rows.push(json!({"task": given, "path": path, "became": became.as_str()}));
            }
            Err(error) => {
                complain(&error);
                self.rows.push(json!({"task": given, "error": with_causes(&error)}));
            }
        }
    }
}

fn line(became: Became, shown: &str) -> String {
    match became {
        Became::Kept(kept) => {
            let word = kept.as_str();
            format!("{word:8}  {shown}: not pending, left there; --{word} deletes it\n")
        }
        _ => format!("{:8}  {shown}\n", became.as_str()),
    }
}

/// Cancels one task, or deletes it if it is kept and that is asked for.
fn cancel(
    options: &CancelOptions,
    spool: &SpoolDir,
    task: Whereabouts,
) -> Result<Done, CancelCommandError> {
    let path = Some(task.path(spool.view()));
    let place = match task {
        Whereabouts::Pending(place) => place,
        Whereabouts::Kept(kept, name) => {
            let became = if options.takes(kept) {
                delete(spool, kept, &name, path.as_deref())?
            } else {
                Became::Kept(kept)
            };
            return Ok(Done { became, path });
        }
    };
    let mut cancellation = Cancellation::new(spool, place, options.grace, !options.no_wait)?;
    loop {
        if let Some(became) = cancellation.step(STEP)? {
            return Ok(Done { became, path });
        }
    }
}

fn delete(
    spool: &SpoolDir,
    kept: Kept,
    name: &[u8],
    path: Option<&Path>,
) -> Result<Became, CancelCommandError> {
    let shown = || path.unwrap_or_else(|| spool.path()).to_owned();
    let fail = |source| CancelCommandError::Delete { path: shown(), source };
    match discard(spool, kept, name).map_err(fail)? {
        Removal::Removed => {
            spool.flush([], &[kept]).map_err(fail)?;
            Ok(Became::Removed)
        }
        Removal::Gone => Ok(Became::Gone),
        Removal::Held(_) => Err(CancelCommandError::Held { path: shown() }),
    }
}
