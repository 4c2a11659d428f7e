//! `unspool logs`: what the daemon has told, without any configuration.
//!
//! A daemon that runs gives the last lines that it keeps in memory, and those to come. Without one
//! the log file is read that the configuration names, or what is recorded of failed attempts.

pub(crate) mod daemon;
pub(crate) mod filter;
mod follow;
mod merge;
mod print;
mod stored;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use unspool_config::Config;
use unspool_spool::{FindError, SpoolView, Whereabouts, inspect, listed, records};
use unspool_sys::clock;

use self::daemon::{Heard, Reader, readers};
use self::filter::{Filter, FilterError, Line};
use self::print::Printer;
use crate::cli::LogsOptions;
use crate::logging::{complain, complain_text};
use crate::spools::{Source, SpoolsError, view_those};
use crate::tasks::{self, Named, TaskError, shown_attempts};
use crate::{exit, terminal};

/// How a spool is named here.
const WAYS: &str = "the task's path, --spooler DIR or --config FILE";
/// Lines of a daemon that are taken for those that it keeps: it keeps fewer.
const LINES_MAX: usize = 20_000;
/// Tasks whose records are read where nothing else is left of the log.
const RECORDS_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum LogsError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Task(#[from] TaskError),
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
            Self::Task(error) => error.exit_status(),
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
    let paths: Vec<PathBuf> = subject.spools.iter().map(|spool| spool.path().to_owned()).collect();
    let (mut daemons, failures) = readers(&paths, options.follow);
    for (pid, error) in failures {
        complain_text(&format!("the daemon with pid {pid} does not give its log: {error}"));
    }
    let kept = read_kept(&mut daemons);
    let (lines, mut told) = match merge::by_time(kept) {
        lines if lines.is_empty() => subject.stored(options.task.is_some()),
        lines => (lines, exit::OK),
    };
    if let Some(given) = &options.task {
        filter.only_of(given.as_bytes(), subject.task.as_ref().map(|(_, task)| task), &lines)?;
        told = exit::worse(told, subject.show_attempts(&mut filter, &mut out));
    }
    show_lines(lines, &mut filter, &mut out);
    out.all_is_there();
    if filter.unjudged > 0 {
        let lines = filter.unjudged;
        complain_text(&format!(
            "{lines} lines were left out that have no level, function or time to choose them by"
        ));
    }
    let mut status = exit::worse(subject.opened, told);
    if options.follow {
        status = exit::worse(status, follow::follow(daemons, &mut filter, &mut out));
    } else if options.task.is_some() && subject.task.is_none() && out.lines == 0 {
        complain_text("no task of that name is there, and no line tells of one");
        status = exit::worse(status, exit::NOTHING);
    }
    Ok(terminal::printed(out.end(), status))
}

/// What daemons keep, of each for itself; drops those that do not tell.
fn read_kept(daemons: &mut Vec<Reader>) -> Vec<Vec<Line>> {
    let mut all = Vec::new();
    daemons.retain_mut(|daemon| {
        let mut kept = Vec::new();
        let is_there = loop {
            match daemon.read() {
                // Of one that tells faster than it is read what comes then is not waited for.
                Ok(news) if news.is_empty() || kept.len() > LINES_MAX => break true,
                Ok(news) => {
                    for heard in news {
                        match heard {
                            Heard::Lines(lines) => kept.extend(lines),
                            Heard::Lost(lines) => complain_lost(lines),
                        }
                    }
                }
                Err(error) => {
                    let pid = daemon.pid;
                    complain_text(&format!(
                        "the daemon with pid {pid} does not give its log: {error}"
                    ));
                    break false;
                }
            }
        };
        all.push(kept);
        is_there
    });
    all
}

fn complain_lost(lines: u64) {
    complain_text(&format!("{lines} lines were not read in time, and are gone"));
}

fn show_lines(lines: Vec<Line>, filter: &mut Filter, out: &mut Printer) {
    for line in lines {
        if filter.wants(&line) {
            out.line(line);
        }
    }
}

impl Subject {
    fn find(options: &LogsOptions) -> Result<Self, LogsError> {
        let Some(given) = options.task.as_deref() else {
            let (paths, config) = Source::of(&options.spool, WAYS)?.run_here()?;
            let (spools, opened) = view_those(paths)?;
            return Ok(Self { spools, opened, config, task: None });
        };
        let Named { paths, config, name } = tasks::named(tasks::source(&options.spool)?, given)?;
        let (spools, opened) = view_those(paths)?;
        let views = spools.iter().collect::<Vec<_>>();
        let task = tasks::lookup(&views, given.as_bytes(), &name)?;
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
        let (attempts, unread) = shown_attempts(spool, task.name());
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
    fn stored(&self, of_task: bool) -> (Vec<Line>, u8) {
        if let Some(path) = self.config.as_deref().and_then(stored::log_file) {
            match stored::lines_of_file(&path) {
                Ok((lines, cut)) => {
                    let part = if cut { "the end of " } else { "" };
                    complain_text(&format!(
                        "no daemon gives its log: these lines are {part}`{}`",
                        path.display()
                    ));
                    return (lines, exit::OK);
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
        if of_task { (Vec::new(), exit::OK) } else { self.records() }
    }

    /// The recorded attempts of all tasks, the oldest first.
    fn records(&self) -> (Vec<Line>, u8) {
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
                let (attempts, unread) = shown_attempts(spool, &name);
                for error in &unread {
                    fail(error);
                }
                found.extend(attempts.into_iter().map(|a| stored::record_of(a, &task, None)));
            }
        }
        found.sort_by_key(|record| record.time_ns);
        (found.into_iter().map(Line::Record).collect(), status)
    }
}
