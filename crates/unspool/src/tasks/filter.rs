//! Which of many tasks are meant. What costs least is asked first: a name, its times, then a look at the
//! file.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use unspool_core::{InvalidPriority, Priority};
use unspool_spool::{
    Listed, SpoolView, TaskSummary, Whereabouts, inspect, origin, submitted_at_ns, submitted_ns,
};
use unspool_sys::clock;

use super::pattern;
use crate::cli::FilterOptions;
use crate::display;

/// How the function of tasks is typed that name none,
const NO_FUNCTION: &[u8] = b"-";
/// and the priority of those without one.
const NO_PRIORITY: &[u8] = b".";

/// Tasks of which nobody can tell whether they are meant.
#[derive(Debug, thiserror::Error)]
#[error(
    "of the spool `{spool}` {} may not be read: whether they match is not known",
    display::count(*tasks, "task")
)]
pub(crate) struct Unread {
    pub(crate) spool: PathBuf,
    pub(crate) tasks: u64,
}

/// What a filter makes of a task.
#[derive(Debug)]
pub(crate) enum Judged {
    Meant(Box<TaskSummary>),
    /// It is another one, or gone.
    Other,
    /// Only its file, or its record, would tell, and that may not be read.
    Unread,
}

/// What a command asks for.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Patterns; none at all: any.
    functions: Vec<Vec<u8>>,
    /// None at all: any; `None` among them: those without one.
    priorities: Vec<Option<Priority>>,
    /// Not submitted before, nor after, in nanoseconds since 1970.
    submitted_min_ns: i64,
    submitted_max_ns: i64,
    now_ns: i64,
}

impl Filter {
    pub(crate) fn new(options: &FilterOptions) -> Result<Self, InvalidPriority> {
        let priority = |name: &OsString| match name.as_bytes() {
            NO_PRIORITY => Ok(None),
            name => Priority::new(name).map(Some),
        };
        let now_ns = clock::now_ns();
        let before = |age: Duration| {
            now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
        };
        Ok(Self {
            functions: options.func.iter().map(|name| name.as_bytes().to_vec()).collect(),
            priorities: options.priority.iter().map(priority).collect::<Result<_, _>>()?,
            submitted_min_ns: options.newer.map_or(i64::MIN, before),
            submitted_max_ns: options.older.map_or(i64::MAX, before),
            now_ns,
        })
    }

    /// When it was made, in nanoseconds since 1970: what is due by then is due.
    pub(crate) fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Whether [`Self::admits`] is all there is to ask.
    pub(crate) fn needs_no_look(&self) -> bool {
        self.functions.is_empty()
    }

    /// Whether folder and times let a task pass. One that was given up has the priority that it came
    /// from.
    pub(crate) fn admits(&self, spool: &SpoolView, task: &Listed) -> io::Result<bool> {
        if !self.priorities.is_empty() {
            let takes = |priority: Option<&Priority>| {
                self.priorities.iter().any(|wanted| wanted.as_ref() == priority)
            };
            let passes = match task.whereabouts() {
                Whereabouts::Pending(place) => takes(place.priority.as_ref()),
                kept @ Whereabouts::Kept(..) => takes(origin(spool, kept)?.as_ref()),
            };
            if !passes {
                return Ok(false);
            }
        }
        if (self.submitted_min_ns, self.submitted_max_ns) == (i64::MIN, i64::MAX) {
            return Ok(true);
        }
        let submitted = match submitted_ns(task.name()) {
            Some(submitted) => submitted,
            None => match task.stat()? {
                Some(stat) => submitted_at_ns(task.folder(), task.name(), &stat),
                None => return Ok(false),
            },
        };
        Ok((self.submitted_min_ns..=self.submitted_max_ns).contains(&submitted))
    }

    /// Whether its function lets a task pass. Nobody knows that of one that may not be read.
    pub(crate) fn fits(&self, task: &TaskSummary) -> bool {
        let name = task.function.as_deref().unwrap_or(NO_FUNCTION);
        let mut patterns = self.functions.iter();
        self.functions.is_empty()
            || task.readable && patterns.any(|pattern| pattern::matches(pattern, name))
    }

    /// Whether a task is meant, and what is seen of it.
    pub(crate) fn judge(&self, spool: &SpoolView, task: &Listed) -> io::Result<Judged> {
        match self.look(spool, task) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Judged::Unread),
            other => other,
        }
    }

    fn look(&self, spool: &SpoolView, task: &Listed) -> io::Result<Judged> {
        if !self.admits(spool, task)? {
            return Ok(Judged::Other);
        }
        Ok(match inspect(task, self.now_ns)? {
            Some(seen) if self.fits(&seen) => Judged::Meant(Box::new(seen)),
            Some(seen) if !seen.readable => Judged::Unread,
            _ => Judged::Other,
        })
    }
}
