//! `unspool logs`: what the daemon has told, without any configuration.
//!
//! A daemon that runs gives the last lines that it keeps in memory, and those to come. Without one
//! the log file is read that the configuration names, or what is recorded of failed attempts.

pub(crate) mod daemon;
pub(crate) mod filter;
mod print;
mod stored;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unspool_config::Config;
use unspool_spool::{
    FindError, SpoolView, Whereabouts, find_one, inspect, listed, records, spool_of, task_name,
    view_attempts,
};
use unspool_sys::clock;

use self::daemon::{Heard, Reader, readers};
use self::filter::{Filter, FilterError, Line};
use self::print::Printer;
use crate::cli::LogsOptions;
use crate::logging::{complain, complain_text};
use crate::spools::{Source, SpoolsError, view_those};
use crate::{exit, terminal};

/// How a spool is named here.
const WAYS: &str = "the task's path, --spooler DIR or --config FILE";
/// Tasks whose records are read where nothing else is left of the log.
const RECORDS_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum LogsError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("cannot look at `{task}`")]
    Look { task: PathBuf, source: io::Error },
    #[error("the records of spool `{spool}` cannot be read")]
    Records { spool: PathBuf, source: io::Error },
}

impl LogsError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Find(FindError::Io { .. } | FindError::Path { .. })
            | Self::Look { .. }
            | Self::Records { .. } => exit::FAILED,
            Self::Find(_) | Self::Filter(_) => exit::USAGE,
        }
    }
}

/// Shows lines of the log.
pub(crate) fn run(options: &LogsOptions) -> u8 {
    match show(options) {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

/// What is asked about.
struct Subject {
    spools: Vec<SpoolView>,
    /// The exit status if some could not be opened.
    opened: u8,
    config: Option<Box<Config>>,
    /// The index of the task's spool, and where it lies.
    task: Option<(usize, Whereabouts)>,
}

fn show(options: &LogsOptions) -> Result<u8, LogsError> {
    let mut filter = Filter::new(options, &filter::now())?;
    let subject = Subject::find(options)?;
    let mut out = Printer::new(options.json, options.lines);
    let mut told = exit::OK;
    if let Some(given) = &options.task {
        filter.only_of(given.as_bytes(), subject.task.as_ref().map(|(_, task)| task));
        told = subject.show_attempts(&mut filter, &mut out);
    }
    let paths: Vec<PathBuf> = subject.spools.iter().map(|spool| spool.path().to_owned()).collect();
    let (mut daemons, failures) = readers(&paths, options.follow);
    for (pid, error) in failures {
        complain_text(&format!("the daemon with pid {pid} does not give its log: {error}"));
    }
    let heard = show_kept(&mut daemons, &mut filter, &mut out);
    if !heard {
        let stored = subject.show_stored(&mut filter, &mut out, options.task.is_some());
        told = exit::worse(told, stored);
    }
    out.all_is_there();
    if filter.unjudged > 0 {
        let lines = filter.unjudged;
        complain_text(&format!(
            "{lines} lines were left out that have no level, function or time to choose them by"
        ));
    }
    let mut status = exit::worse(subject.opened, told);
    if options.follow {
        status = exit::worse(status, follow(daemons, &mut filter, &mut out));
    } else if options.task.is_some() && subject.task.is_none() && out.lines == 0 {
        complain_text("no task of that name is there, and no line tells of one");
        status = exit::worse(status, exit::NOTHING);
    }
    Ok(terminal::printed(out.end(), status))
}

/// Shows what daemons keep, and drops those that do not tell. Returns whether any did.
fn show_kept(daemons: &mut Vec<Reader>, filter: &mut Filter, out: &mut Printer) -> bool {
    let mut heard = false;
    daemons.retain_mut(|daemon| {
        loop {
            match daemon.read() {
                Ok(news) if news.is_empty() || out.closed.is_some() => return true,
                Ok(news) => {
                    heard = true;
                    show_news(news, filter, out);
                }
                Err(error) => {
                    let pid = daemon.pid;
                    complain_text(&format!(
                        "the daemon with pid {pid} does not give its log: {error}"
                    ));
                    return false;
                }
            }
        }
    });
    heard
}

fn show_news(news: Vec<Heard>, filter: &mut Filter, out: &mut Printer) {
    for heard in news {
        match heard {
            Heard::Lines(lines) => show_lines(lines, filter, out),
            Heard::Lost(lines) => {
                out.flush();
                complain_text(&format!("{lines} lines were not read in time, and are gone"));
            }
        }
    }
}

fn show_lines(lines: Vec<Line>, filter: &mut Filter, out: &mut Printer) {
    for line in lines {
        if filter.wants(&line) {
            out.line(line);
        }
    }
}

/// Shows what comes, until nobody reads it or no daemon is left.
fn follow(mut daemons: Vec<Reader>, filter: &mut Filter, out: &mut Printer) -> u8 {
    if daemons.is_empty() {
        complain_text("no daemon gives its log: there is nothing to follow");
        return exit::FAILED;
    }
    while !daemons.is_empty() && out.closed.is_none() {
        let alone = daemons.len() == 1;
        daemons.retain_mut(|daemon| match daemon.follow(alone) {
            Ok(news) => {
                show_news(news, filter, out);
                out.flush();
                true
            }
            Err(error) => {
                complain_text(&format!("the daemon with pid {}: {error}", daemon.pid));
                false
            }
        });
    }
    exit::OK
}

impl Subject {
    fn find(options: &LogsOptions) -> Result<Self, LogsError> {
        let given = options.task.as_deref();
        let by_path = given.filter(|given| given.as_bytes().contains(&b'/'));
        let by_path = by_path.map(|given| spool_of(Path::new(given))).transpose()?.flatten();
        let (paths, config, name) = if let Some((path, name)) = by_path {
            (vec![path], None, Some(name))
        } else {
            let (paths, config) = Source::of(&options.spool, WAYS)?.run_here()?;
            (paths, config, given.map(|given| task_name(given.as_bytes())).transpose()?)
        };
        let (spools, opened) = view_those(paths)?;
        let bytes = given.map(OsStrExt::as_bytes).unwrap_or_default();
        let task = match &name {
            Some(name) => find_one(&spools, bytes, name)?,
            None => None,
        };
        Ok(Self { spools, opened, config, task })
    }

    /// The recorded attempts of the task. The exit status says whether they could be read.
    fn show_attempts(&self, filter: &mut Filter, out: &mut Printer) -> u8 {
        let Some((index, task)) = &self.task else { return exit::OK };
        let (spool, mut status) = (&self.spools[*index], exit::OK);
        let mut fail = |error: &dyn std::error::Error| {
            complain(error);
            status = exit::FAILED;
        };
        let summary = listed(spool, task)
            .and_then(|file| file.map_or(Ok(None), |file| inspect(&file, clock::now_ns())));
        let summary = summary.unwrap_or_else(|source| {
            fail(&LogsError::Look { task: task.path(spool), source });
            None
        });
        let id = summary.and_then(|summary| summary.id).map(|id| id.to_string());
        let name = match task {
            Whereabouts::Pending(place) => place.relative(),
            Whereabouts::Kept(_, name) => name.clone(),
        };
        let name = String::from_utf8_lossy(&name);
        let (attempts, unread) = view_attempts(spool, task.name());
        for error in &unread {
            fail(error);
        }
        for attempt in attempts {
            let number = u64::from(attempt.attempt);
            let line = Line::Record(stored::record_of(attempt, &name, id.clone()));
            if filter.wants(&line) {
                out.line(line);
                filter.shown(number);
            }
        }
        status
    }

    /// What there is without a daemon. The exit status says whether all could be read.
    fn show_stored(&self, filter: &mut Filter, out: &mut Printer, of_task: bool) -> u8 {
        if let Some(path) = self.config.as_deref().and_then(stored::log_file) {
            match stored::lines_of_file(&path) {
                Ok((lines, cut)) => {
                    let part = if cut { "the end of " } else { "" };
                    complain_text(&format!(
                        "no daemon gives its log: these lines are {part}`{}`",
                        path.display()
                    ));
                    show_lines(lines, filter, out);
                    return exit::OK;
                }
                Err(error) => {
                    complain_text(&format!("`{}` cannot be read: {error}", path.display()));
                }
            }
        }
        let why = match &self.config {
            Some(_) => "the configuration names no log file that is there",
            None => "no configuration was given that could name a log file",
        };
        complain_text(&format!(
            "no daemon gives its log, and {why}: only recorded attempts that failed can be shown"
        ));
        if of_task { exit::OK } else { self.show_records(filter, out) }
    }

    /// The recorded attempts of all tasks, the oldest first.
    fn show_records(&self, filter: &mut Filter, out: &mut Printer) -> u8 {
        let (mut found, mut status) = (Vec::new(), exit::OK);
        let mut fail = |error: &dyn std::error::Error| {
            complain(error);
            status = exit::FAILED;
        };
        for spool in &self.spools {
            let names = records(spool, RECORDS_MAX).unwrap_or_else(|source| {
                fail(&LogsError::Records { spool: spool.path().to_owned(), source });
                Vec::new()
            });
            for name in names {
                let task = String::from_utf8_lossy(&name).into_owned();
                let (attempts, unread) = view_attempts(spool, &name);
                for error in &unread {
                    fail(error);
                }
                found.extend(attempts.into_iter().map(|a| stored::record_of(a, &task, None)));
            }
        }
        found.sort_by_key(|record| record.time_ns);
        show_lines(found.into_iter().map(Line::Record).collect(), filter, out);
        status
    }
}
