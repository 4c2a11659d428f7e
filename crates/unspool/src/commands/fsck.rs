//! `unspool fsck`: what a spool directory should be and is not, and its repair.
//!
//! Works on the directory alone, beside whoever uses it. What is found is printed as it is found.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use unspool_config::Config;
use unspool_spool::{Finding, FsckError, FsckOptions, Level, Remedy, Summary, Told, Trust, fsck};
use unspool_wire::control::Security;

use crate::cli::FsckCommand;
use crate::display::{clean, count, json_line};
use crate::logging::{complain, complain_text};
use crate::security::{self, SecurityError};
use crate::spools::{Source, SpoolsError};
use crate::{exit, resolve, terminal};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or a configuration file";

/// How long a damaged file must not have changed, where no configuration says it.
const SETTLE: Duration = Duration::from_mins(1);
/// Files after which the count on a terminal is renewed.
const LOOKED_STEP: u64 = 10_000;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum FsckCommandError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Fsck(#[from] FsckError),
}

impl FsckCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::Fsck(_) => exit::FAILED,
        }
    }
}

/// Checks all spools that are meant.
pub(crate) fn run(command: &FsckCommand) -> u8 {
    match try_run(command) {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(command: &FsckCommand) -> Result<u8, FsckCommandError> {
    let (paths, options, mut status) = find_spools(command)?;
    for path in paths {
        // What one spool cannot say does not keep the others from being checked.
        match check(&path, &options, command.json) {
            Ok((summary, written)) => {
                if summary.left() > 0 {
                    status = exit::worse(status, exit::FAILED);
                }
                status = terminal::printed(written, status);
            }
            Err(error) => {
                complain(&error);
                status = exit::worse(status, exit::FAILED);
            }
        }
    }
    Ok(status)
}

/// The directories, what their configuration says about tasks, and an exit status that says whether all of
/// that is known.
fn find_spools(command: &FsckCommand) -> Result<(Vec<PathBuf>, FsckOptions, u8), FsckCommandError> {
    let bare = FsckOptions { repair: command.repair, settle_ns: ns(SETTLE), ..Default::default() };
    let source = Source::of_set_up(&command.set_up, WAYS)?;
    let (paths, config) = source.run_here()?;
    let Some(config) = config else { return Ok((paths, bare, exit::OK)) };
    let (trust, status) = trust(&config)?;
    let options = FsckOptions {
        settle_ns: ns(config.spooler_settle),
        trust,
        retry: Some(resolve::retry(&config).policy),
        ..bare
    };
    Ok((paths, options, status))
}

/// Whose tasks run. Without keys that can be read everything but signatures is checked.
fn trust(config: &Config) -> Result<(Trust, u8), SecurityError> {
    let Security { unsigned_uids, network_pickle, .. } = security::of_workers(config)?;
    let (keys, status) = match security::keys(config) {
        Ok(keys) => (keys, exit::OK),
        Err(error) => {
            complain(&error);
            complain_text("signatures are not checked; everything else is");
            (None, error.exit_status())
        }
    };
    Ok((Trust { keys, unsigned_uids, network_pickle }, status))
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What was found, and whether it was written.
fn check(
    path: &Path,
    options: &FsckOptions,
    as_json: bool,
) -> Result<(Summary, io::Result<()>), FsckError> {
    let mut written = Ok(());
    let mut output = io::stdout().lock();
    let mut progress = Progress { shown: false, wanted: io::stderr().is_terminal() };
    let result = fsck(path, options, &mut |told| match told {
        Told::Found(finding) => {
            progress.clear();
            let line = if as_json { json_of(path, finding) } else { text_of(finding) };
            // The check goes on whether or not somebody reads of it.
            if written.is_ok() {
                written = output.write_all(line.as_bytes());
            }
        }
        Told::Looked(files) => progress.show(files),
        _ => {}
    });
    progress.clear();
    let summary = result?;
    let line =
        if as_json { json_of_summary(path, &summary) } else { text_of_summary(path, &summary) };
    Ok((summary, written.and_then(|()| output.write_all(line.as_bytes()))))
}

/// How many files were looked at, on a terminal.
struct Progress {
    shown: bool,
    wanted: bool,
}

impl Progress {
    fn show(&mut self, files: u64) {
        if self.wanted && files.is_multiple_of(LOOKED_STEP) {
            self.shown = true;
            let _ = write!(io::stderr(), "\r{files} files");
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `problem: PATH: what it is; what is to be done [check]`, in one line.
fn text_of(finding: &Finding) -> String {
    let word = match (finding.level, &finding.remedy) {
        (_, Remedy::Done(_)) => "repaired",
        (Level::Problem, _) => "problem",
        _ => "note",
    };
    let path = finding.path.to_string_lossy();
    let what = &finding.what;
    let mut line = format!("{word}: {}: {}", clean(&path), clean(what));
    let remedy = finding.remedy.text();
    if !remedy.is_empty() {
        // Writing into a String cannot fail.
        let _ = write!(line, "; {}", clean(remedy));
    }
    let _ = writeln!(line, " [{}]", finding.check.name());
    line
}

fn json_of(spool: &Path, finding: &Finding) -> String {
    json_line(&json!({
        "spool": spool.to_string_lossy(),
        "check": finding.check.name(),
        "level": if finding.level == Level::Problem { "problem" } else { "note" },
        "path": finding.path.to_string_lossy(),
        "what": finding.what,
        "remedy": finding.remedy.kind(),
        "action": finding.remedy.text(),
    }))
}

fn text_of_summary(spool: &Path, summary: &Summary) -> String {
    let Summary { tasks, held, dead, dead_unrecorded, corrupt, records, .. } = summary;
    let mut line = format!("{}: ", clean(&spool.to_string_lossy()));
    let found = count(summary.problems, "problem");
    let _ = match (summary.problems, summary.repaired) {
        (0, _) => write!(line, "clean"),
        (_, 0) => line.write_str(&found),
        (1, _) => write!(line, "{found}, repaired"),
        (_, repaired) => write!(line, "{found}, {repaired} of them repaired"),
    };
    let tasks = count(*tasks, "task");
    let _ = write!(
        line,
        "; {tasks} ({held} held, {records} with a record), {dead} in dead/ ({dead_unrecorded} \
         without a record), {corrupt} in corrupt/"
    );
    if summary.unsaid > 0 {
        let _ = write!(line, "; {} more notes of kinds with over a thousand", summary.unsaid);
    }
    line.push('\n');
    line
}

fn json_of_summary(spool: &Path, summary: &Summary) -> String {
    json_line(&json!({
        "spool": spool.to_string_lossy(),
        "summary": {
            "problems": summary.problems,
            "repaired": summary.repaired,
            "left": summary.left(),
            "notes": summary.notes,
            "unsaid": summary.unsaid,
            "tasks": summary.tasks,
            "held": summary.held,
            "records": summary.records,
            "dead": summary.dead,
            "dead_without_record": summary.dead_unrecorded,
            "corrupt": summary.corrupt,
        },
    }))
}
