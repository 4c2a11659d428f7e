//! `unspool adopt`: old tasks of uWSGI's that the first start left alone, and what becomes of them.
//!
//! Works on the directory alone, so that it needs no daemon; one that runs sees the record change.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use unspool_core::Priority;
use unspool_spool::{
    AdoptError, Adoption, Selection, SpoolDir, SpoolView, Survey, Verdict, begin_adoption, bury,
    change_adoption, lift, survey, view_adoption, walk,
};
use unspool_supervisor::AdoptSettings;
use unspool_sys::clock;

use crate::cli::AdoptOptions;
use crate::logging::complain_as_asked;
use crate::spools::{Source, SpoolsError, check_spool, view_all};
use crate::{display, exit, resolve, terminal};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or a configuration file";
/// How the spool itself and a task without a function are written on the command line.
const TOP: &[u8] = b".";
const NO_FUNCTION: &[u8] = b"-";
/// What counts as long overdue where no configuration says it.
const AGE: Duration = Duration::from_hours(24);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum AdoptCommandError {
    #[error(
        "unspool was not started on `{path}` yet, and the directory does not tell whether \
         `spooler-ordered` was on: name the configuration (`unspool adopt app.ini`), or start \
         `unspool run` first"
    )]
    Unseen { path: PathBuf },
    #[error("no held task matches")]
    NoMatch,
    #[error("cannot look through `{path}`")]
    Walk { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
}

impl AdoptCommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Unseen { .. } => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    List,
    Run,
    Hold,
    Bury,
}

impl Decision {
    fn done(self) -> &'static str {
        match self {
            Self::List => "listed",
            Self::Run => "released",
            Self::Hold => "kept",
            Self::Bury => "buried",
        }
    }
}

/// What came of it in one spool.
#[derive(Debug, Default)]
struct Done {
    tasks: u64,
    /// Somebody runs them, or they went away.
    skipped: u64,
}

/// Lists what is held, or decides about it.
pub(crate) fn run(options: &AdoptOptions) -> u8 {
    match try_run(options) {
        Ok(text) => {
            let status = terminal::print(&text, exit::OK);
            // A decision stands whether or not somebody reads of it.
            if options.run || options.hold || options.bury { exit::OK } else { status }
        }
        Err(error) => {
            complain_as_asked(&error, options.json);
            error.exit_status()
        }
    }
}

fn try_run(options: &AdoptOptions) -> Result<String, AdoptCommandError> {
    let source = Source::of_set_up(&options.set_up, WAYS)?;
    let (paths, config) = source.run_here()?;
    let old = config.map(|config| resolve::adopt(&config));
    let selection = Selection {
        folder: named(options.folder.as_ref(), TOP),
        function: named(options.function.as_ref(), NO_FUNCTION),
    };
    let decision = match (options.run, options.hold, options.bury) {
        (true, ..) => Decision::Run,
        (_, true, _) => Decision::Hold,
        (.., true) => Decision::Bury,
        _ => Decision::List,
    };
    let spools = view_all(paths)?;
    let mut results: Vec<(&SpoolView, Option<Done>, Survey)> = Vec::new();
    for spool in &spools {
        // Also what no daemon of ours looks at is there to decide about.
        if what_is_held(spool, old)?.tasks() == 0 {
            check_spool(spool)?;
        }
        let done = match decision {
            Decision::List => None,
            _ => Some(decide(spool, decision, &selection, old)?),
        };
        let mut left = what_is_held(spool, old)?;
        left.groups.retain(|(place, function), _| selection.includes(top_of(place), function));
        results.push((spool, done, left));
    }
    let done: u64 = results.iter().filter_map(|(_, done, _)| done.as_ref()).map(Done::sum).sum();
    if decision != Decision::List && !selection.is_all() && done == 0 {
        return Err(AdoptCommandError::NoMatch);
    }
    if options.json {
        return Ok(display::json_block(&as_json(&results, decision)));
    }
    Ok(results
        .iter()
        .map(|(spool, done, left)| as_text(spool, done.as_ref(), left, decision))
        .collect())
}

impl Done {
    fn sum(&self) -> u64 {
        self.tasks + self.skipped
    }
}

fn named(given: Option<&OsString>, none: &[u8]) -> Option<Vec<u8>> {
    let given = given?.as_bytes();
    // A folder is meant also with the `/` that completion adds.
    let given = given.strip_suffix(b"/").unwrap_or(given);
    Some(if given == none { Vec::new() } else { given.to_vec() })
}

/// The folder by which a task in that place is selected.
fn top_of(place: &[u8]) -> &[u8] {
    place.split(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The record, or what a first start would record now.
fn record_of(spool: &SpoolView, old: Option<AdoptSettings>) -> Result<Adoption, AdoptError> {
    let age_ns = i64::try_from(old.map_or(AGE, |old| old.age).as_nanos()).unwrap_or(i64::MAX);
    let new = || Adoption::new(old.is_some_and(|old| old.ordered), age_ns);
    Ok(view_adoption(spool)?.unwrap_or_else(new))
}

fn what_is_held(
    spool: &SpoolView,
    old: Option<AdoptSettings>,
) -> Result<Survey, AdoptCommandError> {
    survey(spool, &record_of(spool, old)?).map_err(|source| walking(spool, source))
}

fn walking(spool: &SpoolView, source: io::Error) -> AdoptCommandError {
    AdoptCommandError::Walk { path: spool.path().to_owned(), source }
}

fn decide(
    view: &SpoolView,
    decision: Decision,
    selection: &Selection,
    old: Option<AdoptSettings>,
) -> Result<Done, AdoptCommandError> {
    let everything_runs = decision == Decision::Run && selection.is_all();
    if view_adoption(view)?.is_none() && old.is_none() && !everything_runs {
        return Err(AdoptCommandError::Unseen { path: view.path().to_owned() });
    }
    let spool = &SpoolDir::open(view.path()).map_err(SpoolsError::from)?;
    let record = begin_adoption(spool, record_of(view, old)?)?;
    let mut done = Done::default();
    walk(view, &record, |task| {
        if !selection.includes(task.top, task.function) {
            return Ok(());
        }
        let moved = match decision {
            Decision::Bury => bury(spool, task.folder, task.name)?.is_some(),
            Decision::Run if task.nested => match Priority::new(task.top) {
                Ok(priority) => match spool.priority_folder(&priority)? {
                    Some(folder) => lift(task.folder, task.name, &folder)?,
                    None => false,
                },
                Err(_) => false,
            },
            _ => true,
        };
        *(if moved { &mut done.tasks } else { &mut done.skipped }) += 1;
        Ok(())
    })
    .map_err(|source| walking(view, source))?;
    if done.sum() == 0 && !selection.is_all() {
        return Ok(done);
    }
    match decision {
        Decision::Run => {
            change_adoption(spool, |record| record.decide(selection.clone(), Verdict::Run))?;
        }
        Decision::Hold => {
            change_adoption(spool, |record| record.decide(selection.clone(), Verdict::Hold))?;
        }
        // What is left waits for another decision; without anything left there is none to make.
        Decision::Bury if what_is_held(view, old)?.tasks() == 0 => {
            change_adoption(spool, |record| record.decide(Selection::default(), Verdict::Run))?;
        }
        Decision::Bury | Decision::List => {}
    }
    Ok(done)
}

fn shown<'a>(name: &'a [u8], none: &'a [u8]) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(if name.is_empty() { none } else { name })
}

fn as_text(spool: &SpoolView, done: Option<&Done>, left: &Survey, decision: Decision) -> String {
    let path = display::clean(&spool.path().to_string_lossy());
    let mut text = String::new();
    // Writing into a String cannot fail.
    if let Some(done) = done {
        let _ =
            writeln!(text, "{path}: {} {}", display::count(done.tasks, "task"), decision.done());
        if done.skipped > 0 {
            let skipped = done.skipped;
            let _ =
                writeln!(text, "{path}: {skipped} tasks are running or gone and were left alone");
        }
    }
    if decision == Decision::List {
        let _ = match left.tasks() {
            0 => writeln!(text, "{path}: no task is held"),
            1 => writeln!(text, "{path}: 1 task is held"),
            tasks => writeln!(text, "{path}: {} are held", display::count(tasks, "task")),
        };
        text.push_str(&table(left));
    }
    text
}

fn table(left: &Survey) -> String {
    let now_ns = clock::now_ns();
    let mut rows = vec![
        ["tasks", "folder", "function", "oldest due", "newest due", "decision"].map(str::to_owned),
    ];
    for ((place, function), group) in &left.groups {
        let nested = if group.nested { " (nested: run by no daemon)" } else { "" };
        rows.push([
            group.tasks.to_string(),
            shown(place, TOP).escape_debug().to_string(),
            shown(function, NO_FUNCTION).escape_debug().to_string(),
            ago(now_ns, group.oldest_ns),
            ago(now_ns, group.newest_ns),
            format!("{}{nested}", group.verdict.as_str()),
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| rows.iter().map(|row| display::width(&row[column])).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths).take(5) {
            let _ = write!(text, "  {}", display::padded(cell, *width));
        }
        let _ = writeln!(text, "  {}", row[5]);
    }
    if left.others > 0 {
        let _ = writeln!(text, "  and {} more, in other groups", left.others);
    }
    text.push_str("decide with --run, --hold or --bury; --folder and --function select\n");
    text
}

fn ago(now_ns: i64, due_ns: i64) -> String {
    const MINUTE_NS: i64 = 60_000_000_000;
    let minutes = now_ns.saturating_sub(due_ns) / MINUTE_NS;
    let (ahead, minutes) = (minutes < 0, minutes.saturating_abs());
    let span = match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    };
    if ahead { format!("in {span}") } else { format!("{span} ago") }
}

fn as_json(results: &[(&SpoolView, Option<Done>, Survey)], decision: Decision) -> Value {
    let seconds = |ns: i64| ns as f64 / 1e9;
    let spools: Vec<Value> = results
        .iter()
        .map(|(spool, done, left)| {
            let held: Vec<Value> = left
                .groups
                .iter()
                .map(|((place, function), group)| {
                    json!({
                        "folder": shown(place, TOP),
                        "function": shown(function, NO_FUNCTION),
                        "tasks": group.tasks,
                        "oldest_due": seconds(group.oldest_ns),
                        "newest_due": seconds(group.newest_ns),
                        "decision": group.verdict.as_str(),
                        "nested": group.nested,
                    })
                })
                .collect();
            let mut one = json!({
                "spool": spool.path().to_string_lossy(),
                "tasks": left.tasks(),
                "held": held,
            });
            if let Some(done) = done {
                one[decision.done()] = done.tasks.into();
                one["skipped"] = done.skipped.into();
            }
            one
        })
        .collect();
    json!({ "spools": spools })
}
