//! `unspool drain`: pauses a spool and waits until nothing of it runs.
//!
//! What daemons run they say. What others have, a uWSGI or a worker that outlives its daemon, only the
//! locks of the files tell, and those are looked at when no daemon runs anything any more.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use unspool_spool::{
    Asked, Pause, PauseError, Scope, Shelves, SpoolView, ask_documents, list, pause, read_pauses,
};
use unspool_supervisor::snapshot::StatusSnapshot;
use unspool_sys::clock;

use super::pause::paths;
use crate::cli::DrainOptions;
use crate::display;
use crate::exit;
use crate::logging::complain_as_asked;
use crate::spools::{SpoolsError, to_change, view_all};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a daemon may take to say how it is.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);
/// Looks in a row at which a daemon cannot be asked, after which that is an error.
const DEAF_LOOKS_MAX: u32 = 10;
/// An account of a daemon that is older tells of before the pause.
const AGE_MS_MAX: u64 = 1000;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum DrainError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error("the timeout is {seconds}: give seconds, 0 or more")]
    Timeout { seconds: f64 },
    #[error("cannot look for tasks that run in `{spool}`")]
    Look { spool: PathBuf, source: std::io::Error },
    #[error("no daemon runs `{spool}`, and {tasks} due there: start one")]
    NoDaemon { spool: PathBuf, tasks: String },
    #[error("`{spool}` is {by}: nothing of it runs before `unspool resume`")]
    Paused { spool: PathBuf, by: String },
    #[error("cannot ask daemon {pid} what it runs: {error}")]
    Deaf { pid: u32, error: String },
    #[error("the time is over, and {left}")]
    Late { left: String },
}

impl DrainError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Timeout { .. } | Self::Pause(PauseError::LongWhy { .. }) => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// What still runs, or waits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    running: u64,
    due: u64,
    paused: u64,
    /// A daemon does not yet know of the pause, or does not answer.
    unheard: bool,
    daemons: usize,
    /// What has run longest: for how long, what, and in which process.
    longest: Option<(u64, String, u32)>,
}

impl Left {
    fn is_over(&self, empty: bool) -> bool {
        !self.unheard && self.running == 0 && (!empty || self.due == 0)
    }

    fn describe(&self) -> String {
        let mut text = match (self.running, self.due) {
            (0, 0) => "a daemon has not answered yet".to_owned(),
            (0, due) => format!("{} due", are(due)),
            (running, 0) => format!("{} running", are(running)),
            (running, due) => format!("{} running, {} due", are(running), display::grouped(due)),
        };
        if let Some((since_ms, function, pid)) = &self.longest {
            let since = display::span(*since_ms as f64 / 1e3);
            // Writing into a String cannot fail.
            let _ =
                write!(text, "; process {pid} has run {} for {since}", display::clean(function));
        }
        text
    }
}

fn are(tasks: u64) -> String {
    let verb = if tasks == 1 { "is" } else { "are" };
    format!("{} {verb}", display::count(tasks, "task"))
}

/// `unspool drain`.
pub(crate) fn run(options: &DrainOptions) -> u8 {
    match drain(options) {
        Ok(()) => exit::OK,
        Err(error) => {
            complain_as_asked(&error, options.json);
            error.exit_status()
        }
    }
}

fn drain(options: &DrainOptions) -> Result<(), DrainError> {
    let limit = options.timeout.map(|seconds| {
        let limit = Duration::try_from_secs_f64(seconds);
        limit.map_err(|_| DrainError::Timeout { seconds })
    });
    let limit = limit.transpose()?;
    let spools = view_all(paths(&options.spool)?)?;
    for spool in &spools {
        if !options.empty {
            let spool = to_change(spool)?;
            // Who paused it before has a reason that must not be lost.
            if read_pauses(spool.view())?.spool().is_none() {
                pause(&spool, Pause::now(Scope::Spool, &options.why))?;
            }
        } else if let Some(pause) = read_pauses(spool)?.spool() {
            let spool = spool.path().to_owned();
            return Err(DrainError::Paused { spool, by: display::paused(pause) });
        }
    }
    let bar = progress();
    let started_ns = clock::monotonic_ns();
    let until_ns = limit.map(|limit| {
        started_ns.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
    });
    for spool in &spools {
        let left = wait(spool, options, until_ns, &bar)?;
        bar.suspend(|| tell(spool, options, &left, started_ns));
    }
    bar.finish_and_clear();
    Ok(())
}

fn progress() -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn wait(
    spool: &SpoolView,
    options: &DrainOptions,
    until_ns: Option<u64>,
    bar: &ProgressBar,
) -> Result<Left, DrainError> {
    let mut deaf = 0;
    loop {
        let mut left = look(spool, options.empty, &mut deaf)?;
        if left.is_over(options.empty) {
            let locked = locked(spool)?;
            left.running = locked;
        }
        if left.is_over(options.empty) {
            return Ok(left);
        }
        bar.set_message(left.describe());
        bar.tick();
        let now_ns = clock::monotonic_ns();
        if until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
            return Err(DrainError::Late { left: left.describe() });
        }
        let wait_ns = until_ns.map_or(u64::MAX, |until_ns| until_ns - now_ns);
        clock::pause(LOOK_EVERY.min(Duration::from_nanos(wait_ns)));
    }
}

/// What the daemons of a spool run.
fn look(spool: &SpoolView, empty: bool, deaf: &mut u32) -> Result<Left, DrainError> {
    let mut left = Left::default();
    let answers = ask_documents(spool.path(), Asked::Status, ANSWER_WAIT_MAX);
    left.daemons = answers.len();
    let mut is_deaf = false;
    for (pid, answer) in answers {
        let status = answer.map_err(|error| error.to_string()).and_then(|answer| {
            serde_json::from_slice::<StatusSnapshot>(&answer).map_err(|error| error.to_string())
        });
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                // It may be about to end.
                (left.unheard, is_deaf) = (true, true);
                if *deaf >= DEAF_LOOKS_MAX {
                    return Err(DrainError::Deaf { pid, error });
                }
                continue;
            }
        };
        add(&mut left, &status, empty);
    }
    *deaf = if is_deaf { *deaf + 1 } else { 0 };
    if left.daemons == 0 && empty {
        let tasks = due_files(spool)?;
        if tasks > 0 {
            let spool = spool.path().to_owned();
            return Err(DrainError::NoDaemon { spool, tasks: are(tasks) });
        }
    }
    Ok(left)
}

fn add(left: &mut Left, status: &StatusSnapshot, empty: bool) {
    let spool = &status.spool;
    let heeds = spool.pauses.iter().any(|pause| pause.scope == "spool");
    let heeds = heeds || spool.pauses_failed.is_some() || empty;
    left.unheard |= !heeds || spool.age_ms.is_none_or(|age_ms| age_ms > AGE_MS_MAX);
    left.unheard |= empty && spool.scanning;
    left.running += spool.tasks.running;
    left.due += spool.tasks.due;
    left.paused += spool.tasks.paused;
    for worker in &spool.workers {
        if let Some(current) = &worker.current
            && left.longest.as_ref().is_none_or(|(since_ms, ..)| *since_ms < current.since_ms)
        {
            left.longest = Some((current.since_ms, current.function.clone(), worker.pid));
        }
    }
}

/// Tasks that somebody has, a daemon or not.
fn locked(spool: &SpoolView) -> Result<u64, DrainError> {
    count(spool, unspool_spool::Listed::is_held)
}

/// Tasks that are due by their files.
fn due_files(spool: &SpoolView) -> Result<u64, DrainError> {
    let now_ns = clock::now_ns();
    count(spool, |listed| Ok(listed.stat()?.is_some_and(|stat| stat.mtime_ns <= now_ns)))
}

fn count(
    spool: &SpoolView,
    is_one: impl Fn(&unspool_spool::Listed) -> std::io::Result<bool>,
) -> Result<u64, DrainError> {
    let mut tasks = 0;
    for listed in list(spool, Shelves::PENDING) {
        let is_one = listed.and_then(|listed| is_one(&listed));
        let spool = || spool.path().to_owned();
        tasks += u64::from(is_one.map_err(|source| DrainError::Look { spool: spool(), source })?);
    }
    Ok(tasks)
}

fn tell(spool: &SpoolView, options: &DrainOptions, left: &Left, started_ns: u64) {
    let seconds = clock::monotonic_ns().saturating_sub(started_ns) as f64 / 1e9;
    let place = spool.path().to_string_lossy();
    let text = if options.json {
        let object = json!({
            "spool": place,
            "daemons": left.daemons,
            "due": left.due,
            "paused": left.paused,
            "waited_s": seconds,
        });
        display::json_line(&object)
    } else if options.empty {
        let paused = match left.paused {
            0 => String::new(),
            tasks => format!("; {} left that somebody has paused", are(tasks)),
        };
        format!("empty    nothing of {} is due or runs{paused}\n", display::clean(&place))
    } else {
        format!(
            "drained  nothing of {} runs; `unspool resume` lets it go on\n",
            display::clean(&place)
        )
    };
    // It is done whether or not somebody reads of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
