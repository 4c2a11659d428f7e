//! `unspool stats`: how much there is in spools, and how long it has waited.
//!
//! A daemon that knows all of them is asked; else the files are counted.

mod told;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use unspool_config::Environment;
use unspool_core::Priority;
use unspool_spool::{Census, Depth, Pause, Shelves, TaskState, census, list, live_daemon};
use unspool_sys::clock;

use crate::cli::StatsOptions;
use crate::display::{
    Cell, Column, Paint, Table, age, clean, clipped, count, json_block, paint, pause_object, paused,
};
use crate::exit;
use crate::logging::complain;
use crate::spools::{Source, SpoolsError, view_those};
use crate::tasks::Looked;
use crate::terminal::progress;

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or --config FILE";
/// How long files are looked at, to answer within a second.
const LOOK_MAX: Duration = Duration::from_millis(400);
/// Functions that are told apart.
const FUNCTIONS_MAX: usize = 100_000;
/// Characters of a function's name that are shown.
const FUNCTION_SHOWN: usize = 60;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum StatsError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error("cannot count the tasks of the spool `{spool}`")]
    Count { spool: PathBuf, source: io::Error },
    #[error(
        "of the spool `{spool}` {} may not be read: their functions and states are not known",
        count(*tasks, "task")
    )]
    Unread { spool: PathBuf, tasks: u64 },
    #[error("cannot print the statistics")]
    Print(#[source] io::Error),
}

impl StatsError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            _ => exit::FAILED,
        }
    }
}

/// Tasks by state, in the order of [`TaskState::ALL`].
type States = [u64; TaskState::ALL.len()];

/// What was counted by opening every file.
struct Opened {
    states: States,
    /// Those with the most tasks first, with how many of each state.
    functions: Vec<(Option<Vec<u8>>, States)>,
    /// Those of which that is not known.
    unread: u64,
    /// Why a folder could not be looked through.
    failed: Option<io::Error>,
}

/// One spool.
struct Counted {
    path: PathBuf,
    daemon: Option<u32>,
    /// Of an outbox: where its tasks go.
    relay: Option<String>,
    census: Census,
    /// All folders.
    all: Depth,
    /// `None` if that cannot be read.
    pauses: Option<Vec<Pause>>,
    opened: Option<Opened>,
}

/// Counts tasks.
pub(crate) fn run(options: &StatsOptions) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        // Who reads on does not want more.
        Err(StatsError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(options: &StatsOptions) -> Result<u8, StatsError> {
    let (paths, _) = Source::of(&options.spool, WAYS)?.run_here()?;
    let now_ns = clock::now_ns();
    let (views, mut status) = view_those(paths)?;
    let mut all = Vec::new();
    for view in views {
        let spool = Looked::at(view);
        status = exit::worse(status, spool.complain());
        // What one spool does not tell hides no other.
        match counted(&spool, options, now_ns) {
            Ok(mut counted) => {
                status = exit::worse(status, left_out(&mut counted));
                all.push(counted);
            }
            Err(error) => {
                complain(&error);
                status = exit::FAILED;
            }
        }
    }
    let shown = options.functions.map_or(0, usize::from);
    if options.json {
        let spools: Vec<Value> = all.iter().map(|spool| json_of(spool, shown, now_ns)).collect();
        let text = json_block(&json!({ "spools": spools }));
        io::stdout().write_all(text.as_bytes()).map_err(StatsError::Print)?;
        return Ok(status);
    }
    for (number, spool) in all.iter().enumerate() {
        if number > 0 {
            writeln!(io::stdout()).map_err(StatsError::Print)?;
        }
        print(spool, shown, now_ns).map_err(StatsError::Print)?;
    }
    Ok(status)
}

/// Says what was not counted: an exit status for that.
fn left_out(spool: &mut Counted) -> u8 {
    let mut status = exit::OK;
    for folder in &spool.census.unread {
        complain(folder);
        status = exit::FAILED;
    }
    let Some(opened) = &mut spool.opened else { return status };
    let path = || spool.path.clone();
    // What the census has said is not said again.
    if let Some(source) = opened.failed.take().filter(|_| status == exit::OK) {
        complain(&StatsError::Count { spool: path(), source });
        status = exit::FAILED;
    }
    if opened.unread > 0 {
        complain(&StatsError::Unread { spool: path(), tasks: opened.unread });
        status = exit::FAILED;
    }
    status
}

fn counted(spool: &Looked, options: &StatsOptions, now_ns: i64) -> Result<Counted, StatsError> {
    let path = spool.view.path().to_owned();
    let fail = |source| StatsError::Count { spool: path.clone(), source };
    let by_files = options.all || options.functions.is_some();
    let told = if by_files { None } else { told::told(&spool.view, now_ns) };
    let (census, all) = if let Some(told) = told {
        told
    } else {
        let limit = (!by_files).then_some(LOOK_MAX);
        let adoption = spool.adoption.as_ref().ok().and_then(Option::as_ref);
        let found = census(&spool.view, adoption, now_ns, limit).map_err(fail)?;
        let all = found.all();
        (found, all)
    };
    let opened = options.functions.map(|_| open_all(spool, now_ns));
    let pauses = spool.pauses.as_ref().ok().map(|pauses| pauses.iter().cloned().collect());
    let relay = spool.relay.as_ref();
    let forwarder = relay.filter(|(_, lives)| *lives).map(|(relay, _)| relay.pid);
    let daemon = live_daemon(&path).or(forwarder);
    let relay = relay.map(|(relay, _)| relay.address.clone());
    Ok(Counted { path, daemon, relay, census, all, pauses, opened })
}

/// Looks into every file.
fn open_all(spool: &Looked, now_ns: i64) -> Opened {
    let (mut unread, mut failed) = (0, None);
    let mut states = States::default();
    let mut functions: HashMap<Option<Vec<u8>>, States> = HashMap::new();
    let bar = progress("counting");
    for task in list(&spool.view, Shelves::ALL) {
        bar.inc(1);
        let seen = match task.and_then(|task| spool.inspect(&task, now_ns)) {
            Ok(Some(seen)) => seen,
            Ok(None) => continue,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        if !seen.readable {
            unread += 1;
            continue;
        }
        let Some(state) = TaskState::ALL.iter().position(|state| *state == seen.state) else {
            continue;
        };
        states[state] += 1;
        // Whoever spools under ever new names does not fill the memory.
        if functions.len() < FUNCTIONS_MAX || functions.contains_key(&seen.function) {
            functions.entry(seen.function).or_default()[state] += 1;
        }
    }
    bar.finish_and_clear();
    let mut functions: Vec<_> = functions.into_iter().collect();
    let tasks = |states: &States| states.iter().sum::<u64>();
    functions.sort_by(|(a, of_a), (b, of_b)| tasks(of_b).cmp(&tasks(of_a)).then_with(|| a.cmp(b)));
    Opened { states, functions, unread, failed }
}

/// Who does something about the tasks.
fn who(spool: &Counted) -> String {
    match (spool.daemon, &spool.relay) {
        (None, None) => "no daemon runs here".to_owned(),
        (None, Some(address)) => format!("no daemon sends them on to {}", clean(address)),
        (Some(pid), Some(address)) => format!("process {pid} sends them on to {}", clean(address)),
        (Some(pid), None) => format!("the daemon is process {pid}"),
    }
}

fn print(spool: &Counted, functions: usize, now_ns: i64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let coloured = out.is_terminal() && Environment::current().wants_colour();
    let Census { folders, dead, corrupt, .. } = &spool.census;
    let kept =
        |tasks: &Option<u64>| tasks.map_or_else(|| "?".to_owned(), |tasks| tasks.to_string());
    let (dead, corrupt) = (kept(dead), kept(corrupt));
    let all = &spool.all;
    let daemon = who(spool);
    writeln!(
        out,
        "{}: {} pending, {dead} dead, {corrupt} corrupt; {daemon}",
        clean(&spool.path.to_string_lossy()),
        all.tasks()
    )?;
    if spool.pauses.is_none() {
        writeln!(out, "what is paused cannot be read: nothing of the spool runs")?;
    }
    for pause in spool.pauses.iter().flatten() {
        writeln!(out, "{} is {}", clean(&pause.scope.describe()), paused(pause))?;
    }
    let columns = ["RUNNING", "DUE", "DELAYED", "HELD", "UNSEEN", "MIB", "OLDEST DUE", "NEXT DUE"];
    let mut columns: Vec<Column> = columns.into_iter().map(Column::numbers).collect();
    columns.insert(0, Column::words("PRIORITY"));
    let mut table = Table::new(&mut out, coloured, columns);
    for (priority, depth) in folders {
        let name = priority.as_ref().map_or_else(|| ".".to_owned(), shown);
        table.push(row(name, depth, now_ns))?;
    }
    if folders.len() > 1 {
        table.push(row("all".to_owned(), all, now_ns))?;
    }
    table.finish()?;
    if all.unseen > 0 {
        writeln!(
            out,
            "for want of time {} of {} were not looked at: `--all` looks at each",
            all.unseen,
            all.tasks()
        )?;
    }
    let Some(opened) = &spool.opened else { return Ok(()) };
    writeln!(out)?;
    let present: Vec<usize> =
        (0..opened.states.len()).filter(|at| opened.states[*at] > 0).collect();
    let titles =
        ["RUNNING", "DUE", "DELAYED", "RETRYING", "PAUSED", "HELD", "DEAD", "CORRUPT", "TORN"];
    let mut columns = vec![Column::words("FUNCTION"), Column::numbers("TASKS")];
    columns.extend(present.iter().map(|at| Column::numbers(titles[*at])));
    let mut table = Table::new(&mut out, coloured, columns);
    for (function, states) in opened.functions.iter().take(functions) {
        let name = function.as_deref().map_or("-".into(), String::from_utf8_lossy);
        let mut row = vec![
            Cell::new(clipped(&clean(&name), FUNCTION_SHOWN)),
            Cell::new(states.iter().sum::<u64>().to_string()),
        ];
        row.extend(
            present.iter().map(|at| Cell::painted(number(states[*at]), paint(TaskState::ALL[*at]))),
        );
        table.push(row)?;
    }
    table.finish()?;
    match opened.functions.len().saturating_sub(functions) {
        0 => Ok(()),
        more => writeln!(out, "and {more} more"),
    }
}

fn shown(priority: &Priority) -> String {
    clean(&String::from_utf8_lossy(priority.as_bytes()))
}

fn number(count: u64) -> String {
    if count == 0 { "-".to_owned() } else { count.to_string() }
}

fn row(name: String, depth: &Depth, now_ns: i64) -> Vec<Cell> {
    let away = |ns: Option<i64>, before: &str, after: &str| {
        ns.map_or_else(
            || "-".to_owned(),
            |ns| format!("{before}{}{after}", age(ns.abs_diff(now_ns))),
        )
    };
    vec![
        Cell::new(name),
        Cell::painted(number(depth.running), paint(TaskState::Running)),
        Cell::new(number(depth.due)),
        Cell::painted(number(depth.delayed), paint(TaskState::Delayed)),
        Cell::painted(number(depth.held), paint(TaskState::Held)),
        Cell::painted(number(depth.unseen), Paint::Warning),
        Cell::new(bytes_of(depth).map_or_else(
            || "-".to_owned(),
            |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)),
        )),
        Cell::new(away(depth.oldest_due_ns, "", " ago")),
        Cell::new(away(depth.next_due_ns, "in ", "")),
    ]
}

fn json_of(spool: &Counted, functions: usize, now_ns: i64) -> Value {
    let folders = spool.census.folders.iter().map(|(priority, depth)| {
        let name = priority.as_ref().map(|name| String::from_utf8_lossy(name.as_bytes()));
        let mut object = json_of_depth(depth, now_ns);
        object["priority"] = json!(name);
        object
    });
    let paused = spool.pauses.as_ref();
    let paused = paused.map(|pauses| pauses.iter().map(pause_object).collect::<Vec<_>>());
    let mut object = json!({
        "spool": spool.path.to_string_lossy(),
        "daemon": spool.daemon,
        "relay": spool.relay,
        "pending": json_of_depth(&spool.all, now_ns),
        "dead": spool.census.dead,
        "corrupt": spool.census.corrupt,
        "paused": paused,
        "priorities": folders.collect::<Vec<_>>(),
    });
    if let Some(opened) = &spool.opened {
        let rows = opened.functions.iter().take(functions).map(|(function, states)| {
            let name = function.as_deref().map(String::from_utf8_lossy);
            let tasks: u64 = states.iter().sum();
            json!({ "function": name, "tasks": tasks, "states": json_of_states(states) })
        });
        object["states"] = json_of_states(&opened.states);
        object["functions"] = rows.collect();
    }
    object
}

/// Of all folders together a daemon knows them, of each it does not.
fn bytes_of(depth: &Depth) -> Option<u64> {
    (depth.bytes > 0 || depth.tasks() == 0).then_some(depth.bytes)
}

fn json_of_depth(depth: &Depth, now_ns: i64) -> Value {
    let seconds = |ns: i64| ns as f64 / 1e9;
    json!({
        "tasks": depth.tasks(),
        "running": depth.running,
        "due": depth.due,
        "delayed": depth.delayed,
        "held": depth.held,
        "unseen": depth.unseen,
        "bytes": bytes_of(depth),
        "oldest_due_at": depth.oldest_due_ns.map(seconds),
        "oldest_due_s": depth.oldest_due_ns.map(|ns| seconds(now_ns.saturating_sub(ns))),
        "next_due_at": depth.next_due_ns.map(seconds),
    })
}

fn json_of_states(states: &States) -> Value {
    let named = TaskState::ALL.iter().zip(states);
    named.map(|(state, tasks)| (state.as_str().to_owned(), json!(tasks))).collect()
}
