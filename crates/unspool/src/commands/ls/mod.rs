//! `unspool ls`: the tasks of spools, however many there are.
//!
//! Prints tasks as it reads them, and holds none. A sorted list holds the names and the keys of those
//! that match, with a limit of so many alone, and looks at each again when it prints it.

mod filter;
mod row;
mod sort;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use unspool_config::Environment;
use unspool_core::InvalidPriority;
use unspool_spool::list;

use self::filter::Filter;
use self::row::Printer;
use self::sort::Sorted;
use crate::cli::LsOptions;
use crate::exit;
use crate::logging::complain;
use crate::spools::{Source, SpoolsError, view_those};
use crate::tasks::{Looked, Unread};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or --config FILE";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LsError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error("--priority")]
    Priority(#[from] InvalidPriority),
    #[error("cannot look through the spool `{spool}`")]
    List { spool: PathBuf, source: io::Error },
    #[error("cannot print the list")]
    Print(#[source] io::Error),
}

impl LsError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Priority(_) => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// Lists tasks.
pub(crate) fn run(options: &LsOptions) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        // Who reads on does not want more.
        Err(LsError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(options: &LsOptions) -> Result<u8, LsError> {
    let (paths, _) = Source::of(&options.spool, WAYS)?.run_here()?;
    let (views, mut opened) = view_those(paths)?;
    let spools: Vec<Looked> = views.into_iter().map(Looked::at).collect();
    for spool in &spools {
        opened = exit::worse(opened, spool.complain());
    }
    let filter = Filter::new(options)?;
    let output = io::stdout();
    let coloured = output.is_terminal() && Environment::current().wants_colour();
    let mut printer = Printer::new(
        BufWriter::new(output.lock()),
        options.json,
        coloured,
        spools.len() > 1,
        filter.now_ns(),
    );
    let status = match options.sort {
        None => stream(&spools, &filter, options, &mut printer)?,
        Some(key) => {
            let limit = options.limit.map(usize::from);
            let mut sorted = Sorted::new(key, options.reverse, limit);
            let status = sorted.collect(&spools, &filter);
            sorted.print(&spools, &filter, &mut printer)?;
            status
        }
    };
    printer.finish().map_err(LsError::Print)?;
    Ok(exit::worse(status, opened))
}

/// Prints what matches as it is found. A folder that cannot be read is said, and the others follow.
fn stream<W: Write>(
    spools: &[Looked],
    filter: &Filter<'_>,
    options: &LsOptions,
    printer: &mut Printer<W>,
) -> Result<u8, LsError> {
    let mut left = options.limit.map_or(usize::MAX, usize::from);
    let mut status = exit::OK;
    for spool in spools {
        for task in list(&spool.view, filter.shelves()) {
            let matched = task.and_then(|task| {
                let seen = filter.matches(spool, &task)?;
                Ok(seen.map(|seen| (task, seen)))
            });
            match matched {
                Ok(None) => {}
                Ok(Some((_, seen))) => {
                    printer.print(spool, &seen).map_err(LsError::Print)?;
                    left -= 1;
                    if left == 0 {
                        return Ok(status);
                    }
                }
                Err(source) => status = said(spool, source),
            }
        }
        status = exit::worse(status, unread(spool, filter));
    }
    Ok(status)
}

/// Says how many tasks may match and may not be read; the exit status for that.
fn unread(spool: &Looked, filter: &Filter<'_>) -> u8 {
    match filter.take_unread() {
        0 => exit::OK,
        tasks => {
            complain(&Unread { spool: spool.view.path().to_owned(), tasks });
            exit::FAILED
        }
    }
}

/// Says what could not be looked at; the exit status for that.
fn said(spool: &Looked, source: io::Error) -> u8 {
    complain(&LsError::List { spool: spool.view.path().to_owned(), source });
    exit::FAILED
}
