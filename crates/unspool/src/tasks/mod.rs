//! The tasks that a command is about: one that is named (`find` to look at it, `Finder` to change it),
//! or those of many that a filter leaves.

mod attempts;
mod filter;
mod finder;
mod looked;
mod pattern;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_config::Config;
use unspool_spool::{
    Asked, FindError, Listed, Place, SpoolView, TaskName, Whereabouts, ask_documents, find_among,
    find_one, listed, spool_of, task_name,
};
use unspool_supervisor::explanation::Candidates;
use unspool_sys::folder::FileKind;

pub(crate) use self::attempts::{shown_attempt, shown_attempts};
pub(crate) use self::filter::{Filter, Judged, Unread};
pub(crate) use self::finder::{Finder, FinderError};
pub(crate) use self::looked::{Looked, failed, relayed};
use crate::cli::SpoolArgs;
use crate::exit;
use crate::spools::{Source, SpoolsError, view_those};

/// How a spool is named where a task is.
const WAYS: &str = "the task's path, --spooler DIR or --config FILE";
/// How long a daemon may take to say where a task lies.
const FIND_WAIT_MAX: Duration = Duration::from_secs(2);

/// No task, or not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TaskError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("`{task}` is not in {}; {}", listing(spools), nothing(*unsure))]
    Nowhere {
        task: String,
        spools: Vec<PathBuf>,
        /// It may be in another spool, which cannot be looked at.
        unsure: bool,
    },
    #[error("`{}` is no task: it is no regular file", path.display())]
    NoFile { path: PathBuf },
    #[error("cannot look at `{task}`")]
    Look { task: String, source: io::Error },
}

impl TaskError {
    pub(crate) fn nowhere(task: &OsStr, views: &[SpoolView]) -> Self {
        let spools = views.iter().map(|view| view.path().to_owned()).collect();
        Self::Nowhere { task: task.to_string_lossy().into_owned(), spools, unsure: false }
    }

    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Nowhere { unsure: false, .. } => exit::NOTHING,
            Self::Find(FindError::Io { .. } | FindError::Path { .. })
            | Self::Nowhere { .. }
            | Self::NoFile { .. }
            | Self::Look { .. } => exit::FAILED,
            Self::Find(_) => exit::USAGE,
        }
    }
}

fn listing(spools: &[PathBuf]) -> String {
    let shown = spools.iter().map(|path| format!("`{}`", path.display()));
    shown.collect::<Vec<_>>().join(" or ")
}

/// What follows where a task is not.
pub(crate) fn nothing(unsure: bool) -> &'static str {
    if unsure {
        "it may be in a spool that cannot be looked at"
    } else {
        "a task that is done leaves nothing"
    }
}

/// A task that was found.
#[derive(Debug)]
pub(crate) struct FoundTask {
    pub(crate) view: SpoolView,
    pub(crate) listed: Listed,
    /// Where a configuration named the spool.
    pub(crate) config: Option<Box<Config>>,
}

/// What names the spools, if anything does: the path of a task needs nothing that does.
pub(crate) fn source(args: &SpoolArgs) -> Result<Option<Source>, SpoolsError> {
    match Source::of(args, WAYS) {
        Err(SpoolsError::None { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// Finds the task that somebody names by its path, its file's name, its id, or a part of those.
pub(crate) fn find(args: &SpoolArgs, given: &OsStr) -> Result<FoundTask, TaskError> {
    find_in(source(args)?, given)
}

/// As [`find`], in the spools of this source, or where the path leads.
pub(crate) fn find_in(source: Option<Source>, given: &OsStr) -> Result<FoundTask, TaskError> {
    let Named { paths, config, name } = named(source, given)?;
    let (mut views, opened) = view_those(paths)?;
    let found = lookup(&views.iter().collect::<Vec<_>>(), given.as_bytes(), &name)?;
    let Some((index, place)) = found else {
        let spools = views.iter().map(|view| view.path().to_owned()).collect();
        let (task, unsure) = (given.to_string_lossy().into_owned(), opened != exit::OK);
        return Err(TaskError::Nowhere { task, spools, unsure });
    };
    let view = views.swap_remove(index);
    let look = |source| TaskError::Look { task: given.to_string_lossy().into_owned(), source };
    let listed = listed(&view, &place)
        .map_err(look)?
        .ok_or_else(|| TaskError::nowhere(given, std::slice::from_ref(&view)))?;
    // A pipe or a device is never opened.
    if listed.stat().map_err(look)?.is_some_and(|stat| stat.kind != FileKind::File) {
        return Err(TaskError::NoFile { path: place.path(&view) });
    }
    Ok(FoundTask { view, listed, config })
}

/// Where somebody wants a task to be looked for, and as what.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) paths: Vec<PathBuf>,
    /// Where one names the spools, also of a task that is named by its path.
    pub(crate) config: Option<Box<Config>>,
    pub(crate) name: TaskName,
}

/// What a task's name and this source say.
pub(crate) fn named(source: Option<Source>, given: &OsStr) -> Result<Named, TaskError> {
    let bytes = given.as_bytes();
    let by_path = if bytes.contains(&b'/') { spool_of(Path::new(given))? } else { None };
    let (paths, config, name) = match (by_path, source) {
        (Some((spool, name)), source) => (vec![spool], source.and_then(Source::config), name),
        (None, Some(source)) => {
            let (paths, config) = source.run_here()?;
            match in_named(&paths, Path::new(given)) {
                Some((spool, name)) => (vec![spool], config, name),
                None => (paths, config, task_name(bytes)?),
            }
        }
        (None, None) => return Err(SpoolsError::None { ways: WAYS }.into()),
    };
    Ok(Named { paths, config, name })
}

/// The spool of those that a path leads into, and the task's name there. A directory that only a uWSGI
/// has used is a spool if it is named as one.
fn in_named(spools: &[PathBuf], given: &Path) -> Option<(PathBuf, TaskName)> {
    // Of links in the folder's path one resolves the other.
    let whole = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let (folder, name) = (path.parent()?, path.file_name()?);
        Some(folder.canonicalize().map_or_else(|_| path.clone(), |folder| folder.join(name)))
    };
    let task = whole(given)?;
    spools.iter().find_map(|spool| {
        let directory = spool.canonicalize().or_else(|_| std::path::absolute(spool)).ok()?;
        let place = task.strip_prefix(directory).ok()?;
        Some((spool.clone(), TaskName::within(place.as_os_str().as_bytes())?))
    })
}

/// Where the task lies. A daemon that keeps all names in memory saves listing them.
pub(crate) fn lookup(
    views: &[&SpoolView],
    given: &[u8],
    name: &TaskName,
) -> Result<Option<(usize, Whereabouts)>, FindError> {
    if matches!(name, TaskName::Place(_) | TaskName::Kept(..)) {
        return find_one(views.iter().copied(), given, name);
    }
    let mut found = Vec::new();
    for (index, view) in views.iter().enumerate() {
        match find_by_daemon(view, given, name) {
            Some(here) => found.extend(here.into_iter().map(|task| (index, task))),
            None => return find_one(views.iter().copied(), given, name),
        }
    }
    // Of several the error names some; and one that was just submitted no daemon may have met.
    if found.len() == 1 { Ok(found.pop()) } else { find_one(views.iter().copied(), given, name) }
}

/// `None` if no daemon knows all that is pending, or not all can be looked at.
fn find_by_daemon(view: &SpoolView, given: &[u8], name: &TaskName) -> Option<Vec<Whereabouts>> {
    let answers = ask_documents(view.path(), Asked::Find(given), FIND_WAIT_MAX);
    let mut answers = answers.into_iter().filter_map(|(_, answer)| {
        serde_json::from_slice::<Candidates>(&answer.ok()?).ok().filter(|found| found.complete)
    });
    let candidates = answers.next()?;
    let places = candidates.places.iter().filter_map(|place| Place::parse(place.as_bytes()));
    find_among(view, name, places.collect()).into_found().ok()
}
