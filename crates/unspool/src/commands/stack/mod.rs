//! `unspool stack`: what a running task does, as the Python stacks of its worker. Needs no daemon.
//!
//! The worker is sent a signal that it catches, and nobody else is: see `unspool_sys::stack`. The task
//! goes on.

mod threads;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use unspool_spool::{Listed, SpoolView, TaskState, TaskSummary, runner};
use unspool_supervisor::explanation::Standing;
use unspool_sys::lock::Holder;
use unspool_sys::stack::{self, Answer, Mute, Stacks};
use unspool_sys::{clock, process, user};

use self::threads::Thread;
use crate::cli::TaskOptions;
use crate::logging::complain;
use crate::tasks::{self, FoundTask, Looked, TaskError};
use crate::why::{Facts, Setup};
use crate::{display, exit};

/// How long a worker may take to write its stacks.
const STACK_WAIT_MAX: Duration = Duration::from_secs(2);

/// There is nothing to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum StackError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("cannot look at `{path}`")]
    Look { path: PathBuf, source: io::Error },
    #[error("`{path}` has just ended, or was moved")]
    Gone { path: PathBuf },
    #[error("`{path}` does not run: {standing}; `unspool why {}` says more", path.display())]
    Idle { path: PathBuf, standing: String },
    #[error("`{path}` cannot be asked for its stack: {holder}")]
    Deaf { path: PathBuf, holder: String },
    #[error("worker {pid} cannot be asked for its stack: {why}")]
    Worker { pid: u32, why: String, source: Option<io::Error>, status: u8 },
    #[error("cannot print the stack")]
    Print(#[source] io::Error),
}

impl StackError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Task(error) => error.exit_status(),
            Self::Gone { .. } | Self::Idle { .. } => exit::NOTHING,
            Self::Deaf { .. } => exit::HELD,
            Self::Worker { status, .. } => *status,
            _ => exit::FAILED,
        }
    }

    fn worker(pid: u32, status: u8, why: impl Into<String>) -> Self {
        Self::Worker { pid, why: why.into(), source: None, status }
    }

    /// Nobody may look into it, or it is not there.
    fn io(pid: u32, source: io::Error) -> Self {
        let gone = process::is_gone(&source) || source.kind() == io::ErrorKind::NotFound;
        let (why, status) = if gone {
            let why = "there is no such process: it has just ended, or runs in another container, where \
                       the command has to run too";
            (why.to_owned(), exit::NOTHING)
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            let owner = process::owner(pid).map(|uid| match user::by_number(uid) {
                Ok(Some(user)) => format!("`{}`", user.name),
                _ => uid.to_string(),
            });
            let owner =
                owner.map_or_else(|| "its user".to_owned(), |owner| format!("its user, {owner},"));
            (format!("only {owner} and root may; run the command so"), exit::FAILED)
        } else {
            ("the system refused".to_owned(), exit::FAILED)
        };
        Self::Worker { pid, why, source: Some(source), status }
    }
}

/// A worker that runs the task.
struct Running {
    pid: u32,
    seconds: f64,
    /// No daemon says so, but the notes of the workers.
    is_noted: bool,
}

/// What is shown.
struct Shown<'a> {
    path: &'a Path,
    seen: &'a TaskSummary,
    running: Running,
    /// What the process did before it was asked.
    state: Option<&'static str>,
    stack: Stack,
}

/// What a worker has told.
struct Stack {
    threads: Vec<Thread>,
    /// Its main thread has not come to the interpreter: it is in C code.
    is_in_c: bool,
}

/// Prints the stacks of the worker that runs a task.
pub(crate) fn run(options: &TaskOptions) -> u8 {
    match try_run(options) {
        Ok(()) => exit::OK,
        // Who does not read on has read enough.
        Err(StackError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

fn try_run(options: &TaskOptions) -> Result<(), StackError> {
    let FoundTask { view, listed, .. } = tasks::find(&options.spool, &options.task)?;
    let looked = Looked::at(view);
    let path = listed.whereabouts().path(&looked.view);
    let (seen, running) = find_worker(&looked, &listed)?;
    let pid = running.pid;
    let failed = |source| StackError::io(pid, source);
    let stacks = Stacks::of(pid).map_err(failed)?.map_err(|mute| cannot(pid, mute))?;
    let state = stack::state(pid);
    let stack = told(pid, stacks.ask(STACK_WAIT_MAX).map_err(failed)?)?;
    // What was written is of this task if the worker runs it before and after. A daemon that does not answer
    // is not waited for once more.
    let still = if running.is_noted {
        by_notes(&looked.view, &seen)
            .map_err(|source| StackError::Look { path: path.clone(), source })?
    } else {
        Some(find_worker(&looked, &listed)?.1)
    };
    if still.is_none_or(|still| still.pid != pid) {
        return Err(StackError::Gone { path });
    }
    let shown = Shown { path: &path, seen: &seen, running, state, stack };
    let output =
        if options.json { display::json_block(&shown.object(options)) } else { shown.for_people() };
    let mut stdout = io::stdout().lock();
    stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush()).map_err(StackError::Print)
}

/// The worker that runs the task: its daemon says it, or else the notes of the workers do.
fn find_worker(looked: &Looked, listed: &Listed) -> Result<(TaskSummary, Running), StackError> {
    let task = listed.whereabouts();
    let path = task.path(&looked.view);
    let look = |source| StackError::Look { path: path.clone(), source };
    let idle = |standing: String| StackError::Idle { path: path.clone(), standing };
    let facts = Facts::gather(looked, task, &Setup::default()).map_err(look)?;
    let Some(facts) = facts else { return Err(StackError::Gone { path }) };
    let claimed = facts.known().find(|(_, task)| task.standing == Standing::Claimed);
    if let Some((daemon, task)) = claimed {
        return match &task.worker {
            _ if task.undeleted => {
                Err(idle("it is done, and its file cannot be deleted".to_owned()))
            }
            None => Err(idle(format!("daemon {} has just claimed it", daemon.pid))),
            Some(holding) => match holding.running_ms {
                None if holding.behind => {
                    Err(idle(format!("worker {} has it behind another one", holding.pid)))
                }
                None => Err(idle(format!("worker {} has it, and has not begun", holding.pid))),
                Some(ms) => {
                    let seconds = ms as f64 / 1e3;
                    let running = Running { pid: holding.pid, seconds, is_noted: false };
                    Ok((facts.summary, running))
                }
            },
        };
    }
    match facts.holder {
        Holder::Nobody => {
            let seen = looked.inspect(listed, facts.now_ns).map_err(look)?;
            let Some(seen) = seen else { return Err(StackError::Gone { path }) };
            // Between the two looks somebody may have taken it.
            match seen.state {
                TaskState::Running => Err(idle("it has just been claimed".to_owned())),
                state => Err(idle(format!("it is {}", state.as_str()))),
            }
        }
        Holder::Process(pid) => Err(StackError::Deaf { path, holder: stranger(pid) }),
        Holder::Unnamed => match by_notes(&looked.view, &facts.summary).map_err(look)? {
            Some(running) => Ok((facts.summary, running)),
            None => Err(StackError::Deaf { path, holder: unknown(&facts) }),
        },
    }
}

fn by_notes(view: &SpoolView, seen: &TaskSummary) -> io::Result<Option<Running>> {
    let found = runner(view, &seen.stat)?;
    Ok(found.map(|found| {
        let ns = clock::monotonic_ns().saturating_sub(found.started_ns);
        Running { pid: found.pid, seconds: ns as f64 / 1e9, is_noted: true }
    }))
}

fn stranger(pid: u32) -> String {
    let name = process::executable(pid).map(|name| format!(" (`{name}`)")).unwrap_or_default();
    format!(
        "process {pid}{name} has it, a uWSGI or another program that is no worker of unspool and shows none"
    )
}

fn unknown(facts: &Facts) -> String {
    match facts.daemons.iter().find(|daemon| daemon.explanation.is_none()) {
        Some(daemon) => format!(
            "daemon {} has it, most likely, and does not say: run the command as its user, or as root",
            daemon.pid
        ),
        None => {
            "somebody has it who cannot be named: a process on another machine, or another program"
                .to_owned()
        }
    }
}

fn cannot(pid: u32, mute: Mute) -> StackError {
    match mute {
        Mute::Ended => StackError::worker(pid, exit::NOTHING, "it has ended meanwhile"),
        Mute::NoFile => StackError::worker(
            pid,
            exit::HELD,
            "it has nothing open to write to: the task has closed descriptors that it did not open, or the \
             worker is of an earlier version",
        ),
        Mute::NoHandler => {
            StackError::worker(pid, exit::HELD, "the task has taken the signals that ask for it")
        }
    }
}

fn told(pid: u32, answer: Answer) -> Result<Stack, StackError> {
    match answer {
        Answer::Whole(text) => {
            let threads = threads::parse(&String::from_utf8_lossy(&text));
            Ok(Stack { threads, is_in_c: false })
        }
        Answer::Threads(written) => {
            let threads = written.iter().filter_map(threads::of_itself).collect();
            Ok(Stack { threads, is_in_c: true })
        }
        Answer::Ended => Err(cannot(pid, Mute::Ended)),
        Answer::Busy => Err(StackError::worker(pid, exit::FAILED, "somebody else is asking it")),
        Answer::Silent => {
            let state = stack::state(pid).unwrap_or("ending");
            let wait = STACK_WAIT_MAX.as_secs();
            let why =
                format!("it has not answered for {wait} s: it is {state}, or blocks the signals");
            Err(StackError::worker(pid, exit::FAILED, why))
        }
    }
}

impl Stack {
    fn text(&self) -> String {
        self.threads.iter().map(Thread::text).collect::<Vec<_>>().join("\n")
    }
}

impl Shown<'_> {
    fn function(&self) -> Option<String> {
        let name = self.seen.function.as_deref()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    fn for_people(&self) -> String {
        let path = display::clean(&self.path.to_string_lossy());
        let function = self.function().map(|name| format!(" of `{}`", display::clean(&name)));
        let function = function.unwrap_or_default();
        let id = self.seen.id.map(|id| format!(", id {id}")).unwrap_or_default();
        let Running { pid, seconds, .. } = self.running;
        let mut text = format!("{path}: a task{function}{id}\n");
        let state = self.state.map(|state| format!(", and is {state}")).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "Worker {pid} has run it for {}{state}.", display::span(seconds));
        if self.stack.is_in_c {
            text.push_str("Its main thread is in C code, and has not come back to Python while it was asked.\n");
        }
        text.push('\n');
        text.push_str(&self.stack.text());
        text
    }

    fn object(&self, options: &TaskOptions) -> Value {
        json!({
            "task": options.task.to_string_lossy(),
            "path": self.path.to_string_lossy(),
            "id": self.seen.id.map(|id| id.to_string()),
            "function": self.function(),
            "pid": self.running.pid,
            "running_s": self.running.seconds,
            "process_state": self.state,
            "in_c": self.stack.is_in_c,
            "threads": self.stack.threads.iter().map(Thread::object).collect::<Vec<_>>(),
            "text": self.stack.text(),
        })
    }
}
