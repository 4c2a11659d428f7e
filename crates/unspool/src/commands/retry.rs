//! `unspool retry`: tasks that were given up are pending again, those that wait are due now.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::json;
use unspool_core::{InvalidPriority, Priority};
use unspool_spool::{
    Kept, Listed, Place, Retried, Shelves, SpoolDir, SpoolView, TaskState, Whereabouts, list,
    origin, retry,
};

use crate::cli::RetryOptions;
use crate::display;
use crate::exit;
use crate::logging::{complain, complain_as_asked, with_causes};
use crate::spools::{SpoolsError, to_change};
use crate::tasks::{Filter, Finder, FinderError, Judged, Unread};
use crate::terminal::{Shown, progress};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum RetryError {
    #[error(transparent)]
    Finder(#[from] FinderError),
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error("--priority")]
    Priority(#[from] InvalidPriority),
    #[error("filters choose among all tasks: give --all, or leave them out")]
    FilterWithoutAll,
    #[error("cannot retry `{path}`")]
    Retry { path: String, source: io::Error },
    #[error("`{path}` is pending again, and its record is not as it should be")]
    Record { path: String, source: io::Error },
    #[error("cannot look through the spool `{spool}`")]
    List { spool: String, source: io::Error },
    #[error(
        "tasks were moved in `{spool}`, and a power cut may undo it: a folder cannot be flushed"
    )]
    NotDurable { spool: String, source: io::Error },
}

impl RetryError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Finder(error) => error.exit_status(),
            Self::Spools(error) => error.exit_status(),
            Self::Priority(_) | Self::FilterWithoutAll => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// What became of one task.
struct Done {
    word: &'static str,
    /// What a person should know besides.
    remark: &'static str,
    path: String,
    /// Where it is pending now, if it was moved there.
    place: Option<Place>,
    incomplete: Option<io::Error>,
}

impl Done {
    fn status(&self) -> u8 {
        match self.word {
            "pending" | "due" => exit::OK,
            "running" => exit::HELD,
            "gone" | "corrupt" => exit::NOTHING,
            _ => exit::FAILED,
        }
    }
}

/// How many came to what.
#[derive(Default)]
struct Tally {
    pending: u64,
    due: u64,
    running: u64,
    other: u64,
    failed: u64,
    /// Nobody can tell whether they are meant.
    unread: u64,
}

/// Tries each task again, also after one that fails.
pub(crate) fn run(options: &RetryOptions) -> u8 {
    let mut output = Shown::new();
    let ended = if options.all {
        all(options, &mut output)
    } else if options.filter.is_empty() {
        Ok(named(options, &mut output))
    } else {
        Err(RetryError::FilterWithoutAll)
    };
    let status = ended.unwrap_or_else(|error| {
        complain_as_asked(&error, options.json);
        error.exit_status()
    });
    // What is only said is lost if nobody can read of it; what is done is done.
    if options.dry_run { output.end(status) } else { status }
}

fn named(options: &RetryOptions, output: &mut impl Write) -> u8 {
    let mut finder = Finder::new(&options.spool);
    let mut status = exit::OK;
    for given in &options.tasks {
        let shown = given.to_string_lossy();
        let tried = if options.dry_run {
            let found = finder.look(given);
            found.map(|task| task.map(|(view, task)| one(options, view, None, &task)))
        } else {
            finder
                .find(given)
                .map(|task| task.map(|(spool, task)| named_one(options, spool, &task)))
        };
        let done = match tried {
            Err(error) => {
                status = exit::worse(status, error.exit_status());
                complain(&error);
                say_error(output, options, &shown, &error);
                continue;
            }
            Ok(None) => Ok(Done {
                word: "gone",
                remark: "there is no such task, or no more",
                path: shown.to_string(),
                place: None,
                incomplete: None,
            }),
            Ok(Some(done)) => done,
        };
        match done {
            Ok(done) => {
                status = exit::worse(status, done.status());
                say(output, options, Some(&shown), done);
            }
            Err(error) => {
                status = exit::worse(status, error.exit_status());
                complain(&error);
                say_error(output, options, &shown, &error);
            }
        }
    }
    status
}

fn named_one(
    options: &RetryOptions,
    spool: &SpoolDir,
    task: &Whereabouts,
) -> Result<Done, RetryError> {
    let done = one(options, spool.view(), Some(spool), task)?;
    flush(spool, &done.place.iter().map(|place| place.priority.clone()).collect())?;
    Ok(done)
}

fn all(options: &RetryOptions, output: &mut impl Write) -> Result<u8, RetryError> {
    let filter = Filter::new(&options.filter)?;
    let mut finder = Finder::new(&options.spool);
    let mut tally = Tally::default();
    let bar = progress("retrying");
    for view in finder.all()? {
        let spool = if options.dry_run { None } else { Some(to_change(view)?) };
        let mut touched = BTreeSet::new();
        let mut unread = 0;
        let shelves = Shelves { pending: true, dead: true, corrupt: options.corrupt };
        for file in list(view, shelves) {
            let fail =
                |source| RetryError::List { spool: view.path().display().to_string(), source };
            let judged = file.and_then(|file| Ok((judge(&filter, view, &file)?, file)));
            let file = match judged {
                Ok((Judged::Meant(_), file)) => file,
                Ok((Judged::Unread, _)) => {
                    unread += 1;
                    continue;
                }
                Ok((Judged::Other, _)) => continue,
                Err(error) => {
                    tally.failed += 1;
                    let error = fail(error);
                    bar.suspend(|| complain_as_asked(&error, options.json));
                    continue;
                }
            };
            match one(options, view, spool.as_ref(), file.whereabouts()) {
                Ok(done) => {
                    count(&mut tally, &done);
                    touched.extend(done.place.as_ref().map(|place| place.priority.clone()));
                    if options.json || done.status() > exit::OK || done.incomplete.is_some() {
                        bar.suspend(|| say(output, options, None, done));
                    }
                }
                Err(error) => {
                    tally.failed += 1;
                    let path = file.whereabouts().path(view);
                    bar.suspend(|| complain(&error));
                    say_error(output, options, &path.to_string_lossy(), &error);
                }
            }
            bar.inc(1);
        }
        if unread > 0 {
            tally.unread += unread;
            let unread = Unread { spool: view.path().to_owned(), tasks: unread };
            bar.suspend(|| complain(&unread));
        }
        if let Some(spool) = &spool {
            flush(spool, &touched)?;
        }
    }
    bar.finish_and_clear();
    say_tally(output, options, &tally);
    Ok(match tally {
        Tally { failed: 1.., .. } | Tally { unread: 1.., .. } => exit::FAILED,
        Tally { running: 1.., .. } => exit::HELD,
        Tally { pending: 0, due: 0, .. } => exit::NOTHING,
        _ => exit::OK,
    })
}

/// Whether a task is meant by `--all`: it was given up, or failed and waits.
fn judge(filter: &Filter, view: &SpoolView, file: &Listed) -> io::Result<Judged> {
    Ok(match filter.judge(view, file)? {
        Judged::Meant(task)
            if matches!(task.whereabouts, Whereabouts::Pending(_))
                && task.state != TaskState::Retrying =>
        {
            // By its times alone one that failed looks like any other that waits.
            let may_be_meant = !task.readable && task.state == TaskState::Delayed;
            if may_be_meant { Judged::Unread } else { Judged::Other }
        }
        judged => judged,
    })
}

/// Without a spool to change it is only said what would become of it.
fn one(
    options: &RetryOptions,
    view: &SpoolView,
    spool: Option<&SpoolDir>,
    task: &Whereabouts,
) -> Result<Done, RetryError> {
    let path = task.path(view).to_string_lossy().into_owned();
    let mut done = Done { word: "gone", remark: "", path, place: None, incomplete: None };
    if matches!(task, Whereabouts::Kept(Kept::Corrupt, _)) && !options.corrupt {
        done.word = "corrupt";
        done.remark = "not whole, or not signed as it has to be; --corrupt tries it again as it is";
        return Ok(done);
    }
    let Some(spool) = spool else {
        let fail = |source| RetryError::Retry { path: done.path.clone(), source };
        done.word = if let Whereabouts::Pending(_) = task { "due" } else { "pending" };
        if let Whereabouts::Kept(..) = task {
            let priority = origin(view, task).map_err(fail)?;
            let place = Place { priority, name: task.name().to_vec() };
            done.path = place.path(view).to_string_lossy().into_owned();
        }
        return Ok(done);
    };
    let retried = retry(spool, task);
    match retried.map_err(|source| RetryError::Retry { path: done.path.clone(), source })? {
        Retried::Pending { place, incomplete } => {
            done.word = "pending";
            done.path = place.path(view).to_string_lossy().into_owned();
            (done.place, done.incomplete) = (Some(place), incomplete);
        }
        Retried::Hurried => done.word = "due",
        Retried::Due => (done.word, done.remark) = ("due", "it was due already"),
        Retried::Held(_) => (done.word, done.remark) = ("running", "somebody has it"),
        Retried::Taken(_) => {
            done.word = "taken";
            done.remark = "a pending task has its name: a copy of it, perhaps; left there";
        }
        Retried::Gone => done.remark = "there is no such task, or no more",
    }
    Ok(done)
}

fn flush(spool: &SpoolDir, touched: &BTreeSet<Option<Priority>>) -> Result<(), RetryError> {
    if touched.is_empty() {
        return Ok(());
    }
    let folders = touched.iter().map(Option::as_ref);
    spool.flush(folders, &[Kept::Dead, Kept::Corrupt]).map_err(|source| RetryError::NotDurable {
        spool: spool.path().display().to_string(),
        source,
    })
}

fn count(tally: &mut Tally, done: &Done) {
    match done.word {
        "pending" => tally.pending += 1,
        "due" => tally.due += 1,
        "running" => tally.running += 1,
        "taken" => tally.failed += 1,
        _ => tally.other += 1,
    }
}

// It is done whether or not somebody reads of it: a closed pipe is no error here.

fn say(output: &mut impl Write, options: &RetryOptions, given: Option<&str>, mut done: Done) {
    if let Some(source) = done.incomplete.take() {
        complain(&RetryError::Record { path: done.path.clone(), source });
    }
    let _ = if options.json {
        let priority = done.place.as_ref().and_then(|place| place.priority.as_ref());
        let priority = priority.map(|name| String::from_utf8_lossy(name.as_bytes()));
        let row = json!({
            "task": given.unwrap_or(&done.path), "path": done.path, "became": done.word,
            "priority": priority, "dry_run": options.dry_run,
        });
        write!(output, "{}", display::json_line(&row))
    } else if done.remark.is_empty() {
        writeln!(output, "{:8}  {}", done.word, display::clean(&done.path))
    } else {
        writeln!(output, "{:8}  {}: {}", done.word, display::clean(&done.path), done.remark)
    };
}

fn say_error(
    output: &mut impl Write,
    options: &RetryOptions,
    given: &str,
    error: &dyn std::error::Error,
) {
    if options.json {
        let _ = write!(
            output,
            "{}",
            display::json_line(&json!({"task": given, "error": with_causes(error)}))
        );
    }
}

fn say_tally(output: &mut impl Write, options: &RetryOptions, tally: &Tally) {
    let Tally { pending, due, running, other, failed, unread } = tally;
    let _ = if options.json {
        let summary = json!({
            "pending": pending, "due": due, "running": running, "left": other, "failed": failed,
            "unread": unread, "dry_run": options.dry_run,
        });
        write!(output, "{}", display::json_line(&json!({ "summary": summary })))
    } else {
        let would = if options.dry_run { "would be " } else { "" };
        let rest =
            [(*running, "running"), (*other, "gone"), (*failed, "failed"), (*unread, "not judged")];
        let mut text = format!(
            "{} {would}pending again, {} {would}due now",
            display::count(*pending, "task"),
            display::grouped(*due)
        );
        for (count, word) in rest.iter().filter(|(count, _)| *count > 0) {
            // Writing into a String cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!(", {count} {word}"));
        }
        writeln!(output, "{text}")
    };
}
