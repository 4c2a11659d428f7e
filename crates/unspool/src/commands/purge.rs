//! `unspool purge`: many tasks are deleted at once, with their records.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::json;
use unspool_core::InvalidPriority;
use unspool_spool::{
    Kept, Listed, Removal, Shelves, SpoolDir, SpoolView, TaskState, TaskSummary, Whereabouts,
    discard, discard_records, list, priorities, remove_pending,
};

use crate::cli::{PurgeOptions, PurgedState};
use crate::display::json_line;
use crate::exit;
use crate::logging::{complain, complain_as_asked};
use crate::spools::{SpoolsError, to_change};
use crate::tasks::{Filter, Finder, FinderError, Judged, Unread};
use crate::terminal::{self, confirm, progress};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum PurgeError {
    #[error(transparent)]
    Finder(#[from] FinderError),
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error("--priority")]
    Priority(#[from] InvalidPriority),
    #[error("{found} would be deleted for good: give --yes to do it, or --dry-run to count alone")]
    NotSure { found: String },
    #[error("cannot look through the spool `{spool}`")]
    List { spool: String, source: io::Error },
    #[error("cannot delete `{path}`")]
    Delete { path: String, source: io::Error },
    #[error("tasks of `{spool}` are deleted, and a power cut may bring some back")]
    NotDurable { spool: String, source: io::Error },
}

impl PurgeError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Finder(error) => error.exit_status(),
            Self::Spools(error) => error.exit_status(),
            Self::Priority(_) | Self::NotSure { .. } => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// How many there are of each.
#[derive(Debug, Default)]
struct Tally {
    dead: u64,
    corrupt: u64,
    pending: u64,
    /// Somebody has them.
    running: u64,
    records: u64,
    failed: u64,
    /// Nobody can tell whether they are meant.
    unread: Vec<Unread>,
}

impl Tally {
    fn unread(&self) -> u64 {
        self.unread.iter().map(|unread| unread.tasks).sum()
    }

    fn tasks(&self) -> u64 {
        self.dead + self.corrupt + self.pending
    }

    fn count(&mut self, task: &Whereabouts) {
        match task {
            Whereabouts::Pending(_) => self.pending += 1,
            Whereabouts::Kept(Kept::Dead, _) => self.dead += 1,
            Whereabouts::Kept(Kept::Corrupt, _) => self.corrupt += 1,
        }
    }

    /// In words.
    fn text(&self) -> String {
        let parts = [(self.dead, "given up"), (self.corrupt, "corrupt"), (self.pending, "pending")];
        let parts: Vec<String> = (parts.iter().filter(|(count, _)| *count > 0))
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        match self.tasks() {
            0 => "no task".to_owned(),
            1 => format!("1 task ({})", parts.join(", ")),
            tasks => format!("{tasks} tasks ({})", parts.join(", ")),
        }
    }
}

/// Counts them, asks, and deletes them.
pub(crate) fn run(options: &PurgeOptions) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        Err(error) => {
            complain_as_asked(&error, options.json);
            error.exit_status()
        }
    }
}

fn try_run(options: &PurgeOptions) -> Result<u8, PurgeError> {
    let filter = Filter::new(&options.filter)?;
    let mut finder = Finder::new(&options.spool);
    let views = finder.all()?;
    if options.dry_run || !options.yes {
        let found = walk(options, &filter, views, "counting", |_, _| Ok(Removal::Removed))?;
        if options.dry_run {
            let status = match found.tasks() {
                _ if say_unread(&found) => exit::FAILED,
                0 => exit::NOTHING,
                _ => exit::OK,
            };
            return Ok(terminal::print(&said(options, &found), status));
        }
        let text = found.text();
        if found.tasks() > 0 {
            match confirm(&format!("Delete {text} for good?")) {
                Some(true) => {}
                Some(false) => return Ok(exit::NOTHING),
                None => return Err(PurgeError::NotSure { found: text }),
            }
        }
    }
    let spools = views.iter().map(to_change).collect::<Result<Vec<_>, _>>()?;
    let delete = |index: usize, file: &Listed| delete(&spools[index], file);
    let mut done = walk(options, &filter, views, "deleting", delete)?;
    for spool in &spools {
        if options.dead && options.filter.is_empty() {
            let fail =
                |source| PurgeError::List { spool: spool.path().display().to_string(), source };
            done.records += discard_records(spool).map_err(fail)?;
        }
        flush(spool, options)?;
    }
    // It is done whether or not somebody reads of it.
    let _ = io::stdout().write_all(said(options, &done).as_bytes());
    Ok(match done {
        _ if say_unread(&done) => exit::FAILED,
        Tally { failed: 1.., .. } => exit::FAILED,
        Tally { running: 1.., .. } => exit::HELD,
        _ if done.tasks() + done.records == 0 => exit::NOTHING,
        _ => exit::OK,
    })
}

/// Says how many could not be judged; whether there are any.
fn say_unread(tally: &Tally) -> bool {
    for unread in &tally.unread {
        complain(unread);
    }
    !tally.unread.is_empty()
}

/// Does this with each task that is meant.
fn walk(
    options: &PurgeOptions,
    filter: &Filter,
    views: &[SpoolView],
    what: &'static str,
    act: impl Fn(usize, &Listed) -> io::Result<Removal>,
) -> Result<Tally, PurgeError> {
    let PurgeOptions { pending, dead, corrupt, .. } = *options;
    let mut tally = Tally::default();
    let bar = progress(what);
    for (index, view) in views.iter().enumerate() {
        let mut unread = 0;
        for file in list(view, Shelves { pending, dead, corrupt }) {
            let fail =
                |source| PurgeError::List { spool: view.path().display().to_string(), source };
            let file = file.map_err(fail)?;
            let task = match filter.judge(view, &file).map_err(fail)? {
                Judged::Meant(task) => task,
                Judged::Unread => {
                    unread += 1;
                    continue;
                }
                Judged::Other => continue,
            };
            if !is_meant(options, &task) {
                tally.running += u64::from(task.state == TaskState::Running);
                unread += u64::from(may_be_meant(options, &task));
                continue;
            }
            match act(index, &file) {
                Ok(Removal::Removed) => tally.count(file.whereabouts()),
                Ok(Removal::Held(_)) => tally.running += 1,
                Ok(Removal::Gone) => {}
                Err(source) => {
                    tally.failed += 1;
                    let path = file.whereabouts().path(view).display().to_string();
                    bar.suspend(|| complain(&PurgeError::Delete { path, source }));
                }
            }
            bar.inc(1);
        }
        if unread > 0 {
            tally.unread.push(Unread { spool: view.path().to_owned(), tasks: unread });
        }
    }
    bar.finish_and_clear();
    Ok(tally)
}

fn is_meant(options: &PurgeOptions, task: &TaskSummary) -> bool {
    let is = |state: &PurgedState| {
        task.state
            == match state {
                PurgedState::Due => TaskState::Due,
                PurgedState::Delayed => TaskState::Delayed,
                PurgedState::Retrying => TaskState::Retrying,
                PurgedState::Torn => TaskState::Torn,
            }
    };
    match &task.whereabouts {
        Whereabouts::Kept(..) => true,
        Whereabouts::Pending(_) if task.state == TaskState::Running => false,
        Whereabouts::Pending(_) => options.state.is_empty() || options.state.iter().any(is),
    }
}

/// Whether a task that may not be read is in a state that is meant and that its times alone do not tell.
fn may_be_meant(options: &PurgeOptions, task: &TaskSummary) -> bool {
    let hidden = [PurgedState::Retrying, PurgedState::Torn];
    !task.readable
        && task.state != TaskState::Running
        && options.state.iter().any(|state| hidden.contains(state))
}

fn delete(spool: &SpoolDir, file: &Listed) -> io::Result<Removal> {
    match file.whereabouts() {
        Whereabouts::Pending(_) => remove_pending(spool, file.folder(), file.name()),
        Whereabouts::Kept(kept, name) => discard(spool, *kept, name),
    }
}

/// A power cut brings none back. Priorities' folders are flushed as a whole.
fn flush(spool: &SpoolDir, options: &PurgeOptions) -> Result<(), PurgeError> {
    let fail =
        |source| PurgeError::NotDurable { spool: spool.path().display().to_string(), source };
    let kept = [(options.dead, Kept::Dead), (options.corrupt, Kept::Corrupt)];
    let kept: Vec<Kept> = kept.iter().filter(|(wanted, _)| *wanted).map(|(_, k)| *k).collect();
    spool.flush([], &kept).map_err(fail)?;
    if options.pending {
        let priorities = priorities(spool.view()).map_err(fail)?;
        let folders = std::iter::once(None).chain(priorities.iter().map(Some));
        spool.flush(folders, &[]).map_err(fail)?;
    }
    Ok(())
}

fn said(options: &PurgeOptions, tally: &Tally) -> String {
    let Tally { dead, corrupt, pending, running, records, failed, .. } = tally;
    let unread = tally.unread();
    if options.json {
        let row = json!({
            "dead": dead, "corrupt": corrupt, "pending": pending, "running": running,
            "records": records, "failed": failed, "unread": unread, "dry_run": options.dry_run,
        });
        json_line(&row)
    } else {
        let verb = if options.dry_run { "would be deleted" } else { "deleted" };
        let mut text = format!("{} {verb}", tally.text());
        let rest = [
            (*records, "records without a task"),
            (*running, "running, left"),
            (*failed, "failed"),
            (unread, "not judged"),
        ];
        for (count, word) in rest.iter().filter(|(count, _)| *count > 0) {
            // Writing into a String cannot fail.
            let _ = write!(text, ", {count} {word}");
        }
        text.push('\n');
        text
    }
}
