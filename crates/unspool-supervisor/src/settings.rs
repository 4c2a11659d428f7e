//! What the binary decides before it starts the daemon.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use unspool_core::RetryPolicy;
use unspool_spool::{SchedulePlace, SpoolDir};
use unspool_wire::control::Setup;

use crate::inquiry::Inquiries;
use crate::journal::LineRing;
use crate::limits::{Dedicated, Limits};
use crate::programs::ProgramSettings;

/// Everything that a daemon needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The spools that it runs.
    pub spools: Vec<SpoolSettings>,
    /// How it gets its workers.
    pub zygote: ZygoteSettings,
    /// What runs besides tasks.
    pub programs: ProgramSettings,
    /// What it does each time that the application is there, in order.
    pub hooks: Vec<HookStep>,
    /// Where it is written down which crons have run.
    pub schedule: SchedulePlace,
    /// The mules.
    pub mules: MuleSettings,
    /// The web workers; how they answer is part of the zygote's setup. `None`: there are none.
    pub web: Option<WebSettings>,
    /// How long a stop waits for running tasks.
    pub stop_timeout: Duration,
    /// What limits its workers.
    pub limits: Limits,
    /// The files of the configuration, for those who ask.
    pub config_files: Vec<PathBuf>,
    /// Where others ask how the daemon is.
    pub inquiries: Option<Inquiries>,
    /// The last lines of the log.
    pub lines: Arc<LineRing>,
    /// What it watches besides the spools.
    pub watch: WatchSettings,
    /// What SIGQUIT asks for.
    pub on_quit: OnQuit,
    /// What the binary does at moments of the daemon's life.
    pub moments: Moments,
}

/// One thing that is done each time that the application is there.
#[derive(Debug)]
pub enum HookStep {
    /// A line of shell; those behind it wait until it has ended with status 0.
    Exec {
        /// It.
        command: String,
        /// It as it may be shown.
        shown: String,
    },
    /// Something short.
    Act(Moment),
}

/// What SIGQUIT asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnQuit {
    /// Stop, and wait for no task.
    #[default]
    Stop,
    /// Reload: uWSGI's `die-on-term` swaps SIGTERM and SIGQUIT.
    Reload,
}

/// What the binary does at moments of the daemon's life. None of it may take long: the supervisor
/// waits for it.
#[derive(Debug, Default)]
pub struct Moments {
    /// Spools are open and signals are answered.
    pub started: Moment,
    /// The application was imported for the first time, or that was tried.
    pub imported: Moment,
    /// The application was imported anew, by a reload.
    pub reloaded: Moment,
    /// The files of the log are to be opened again: an outside tool has moved them.
    pub reopen_logs: Moment,
    /// The log file is to be moved away and begun anew.
    pub rotate_log: Moment,
    /// The files with the daemon's process number are to be written again.
    pub write_pidfiles: Moment,
}

/// What is done at one of them.
#[derive(Default)]
pub struct Moment(Option<Box<dyn FnMut() + Send>>);

impl Moment {
    /// Does this.
    pub fn new(act: impl FnMut() + Send + 'static) -> Self {
        Self(Some(Box::new(act)))
    }

    /// It is time. `false`: there is nothing to do at this moment.
    pub(crate) fn reached(&mut self) -> bool {
        if let Some(act) = &mut self.0 {
            act();
        }
        self.0.is_some()
    }
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Moment").field(&self.0.is_some()).finish()
    }
}

/// What the daemon watches besides the spools.
#[derive(Debug, Default)]
pub struct WatchSettings {
    /// Files whose touch does something.
    pub touches: Vec<Touch>,
    /// Whether a change of the application's files reloads it, and how often they are looked at
    /// where the system sends no events.
    pub autoreload: Option<Duration>,
    /// Where the commands of touches run.
    pub directory: PathBuf,
    /// FIFOs for commands, by slot.
    pub fifos: Vec<PathBuf>,
    /// The FIFO is removed at the end.
    pub remove_fifo: bool,
    /// A reload stops the daemon instead.
    pub exit_on_reload: bool,
}

/// A file whose touch does something.
#[derive(Debug)]
pub struct Touch {
    /// The option that names it.
    pub option: &'static str,
    /// Absolute.
    pub path: PathBuf,
    /// Any event counts, as for a monitor; else a change of its modification time.
    pub any_event: bool,
    /// What follows.
    pub action: TouchAction,
}

/// What follows from a touch.
#[derive(Debug, Clone)]
pub enum TouchAction {
    /// The application is imported anew.
    Reload,
    /// A shell command runs.
    Exec(String),
    /// A uwsgi signal is raised.
    Signal(u8),
    /// The log's files are opened anew.
    ReopenLog,
    /// The log file is moved away and begun anew.
    RotateLog,
}

/// One spool.
#[derive(Debug)]
pub struct SpoolSettings {
    /// The open directory.
    pub dir: SpoolDir,
    /// Worker processes that run all tasks, at least one.
    pub workers: u32,
    /// More worker processes, for single priorities.
    pub dedicated: Vec<Dedicated>,
    /// Time between retries of a task, and between scans where the system sends no events.
    pub frequency: Duration,
    /// How often a task may fail, and when it runs again.
    pub retry: RetrySettings,
    /// How long a file that is no whole task is left alone before it goes to `corrupt/`.
    pub settle: Duration,
    /// Tasks that are kept in memory; more wait in their files.
    pub tasks_max: usize,
    /// What becomes of old tasks at the first start.
    pub adopt: AdoptSettings,
    /// No log line for each task that is done.
    pub quiet: bool,
    /// Daemons of other machines may run it too.
    pub shared_hosts: bool,
}

/// What becomes of tasks that fail.
#[derive(Debug, Clone, Copy)]
pub struct RetrySettings {
    /// Limits and back-off.
    pub policy: RetryPolicy,
    /// Time between attempts; `None`: the frequency, which the application may change.
    pub delay: Option<Duration>,
}

/// What the mules have in common; which there are is part of the zygote's setup.
#[derive(Debug, Clone, Copy)]
pub struct MuleSettings {
    /// How long one may take for a message.
    pub harakiri: Option<Duration>,
    /// How long one may take to end at a reload or a stop.
    pub reload_mercy: Duration,
    /// Bytes that a queue of messages holds.
    pub queue_bytes: usize,
}

/// What web workers have in common, besides what the zygote's setup says.
#[derive(Debug)]
pub struct WebSettings {
    /// What they accept on, in the order of that setup: they listen already.
    pub sockets: Vec<OwnedFd>,
    /// Connections that the system keeps on each until they are accepted.
    pub backlog: u32,
    /// Over which they hand connections over that are no requests.
    pub handover: OwnedFd,
    /// How long one may take to answer what it has when it is to leave.
    pub mercy: Duration,
    /// If the application cannot be imported, the daemon ends.
    pub need_app: bool,
}

/// What the configuration says about tasks that uWSGI left behind.
#[derive(Debug, Clone, Copy)]
pub struct AdoptSettings {
    /// `spooler-ordered`: uWSGI ran folders that are numbers.
    pub ordered: bool,
    /// How long a task must be overdue to count as old.
    pub age: Duration,
    /// What is decided; `None` asks.
    pub choice: Option<AdoptChoice>,
}

/// A decision about all old tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptChoice {
    /// They run like any other.
    Run,
    /// They stay where they are.
    Hold,
    /// They go to `dead/`.
    Bury,
}

/// Whether workers are forked from a process that has imported the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkPolicy {
    /// They are, until two in a row are not ready in time.
    Auto,
    /// They are.
    Always,
    /// Each imports the application itself.
    Never,
}

/// The process that imports the application and forks workers.
#[derive(Debug)]
pub struct ZygoteSettings {
    /// The Python interpreter.
    pub python: PathBuf,
    /// What it imports.
    pub setup: Setup,
    /// Whether workers are forked from a process that has imported the application.
    pub fork: ForkPolicy,
    /// How long a worker may take from its fork until it is ready.
    pub start_timeout: Duration,
    /// The application's processes have the standard input of the daemon, and not an empty one.
    pub honour_stdin: bool,
}
