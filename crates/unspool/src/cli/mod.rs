//! The command line: what can be typed, nothing of what it does.
#![expect(clippy::doc_markdown, reason = "these comments are help texts")]

mod cancel;
mod completions;
mod doctor;
mod edit;
mod filter;
mod init;
mod log_format;
mod logs;
mod ls;
mod markdown;
mod mv;
mod pause;
mod purge;
mod replay;
mod retry;
mod schedule;
mod show;
mod stats;
mod task;
mod times;
mod top;
mod typed_line;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use self::cancel::CancelOptions;
pub(crate) use self::completions::{CompleteOptions, CompletionsOptions, candidates};
pub(crate) use self::doctor::DoctorOptions;
pub(crate) use self::edit::EditOptions;
pub(crate) use self::filter::FilterOptions;
pub(crate) use self::init::{InitOptions, StarterFile};
pub(crate) use self::log_format::own_log_format;
pub(crate) use self::logs::LogsOptions;
pub(crate) use self::ls::{LsOptions, SortKey};
pub(crate) use self::markdown::{HelpMarkdownOptions, help_markdown};
pub(crate) use self::mv::MvOptions;
pub(crate) use self::pause::{DrainOptions, PartArgs, PauseOptions, ResumeOptions};
pub(crate) use self::purge::{PurgeOptions, PurgedState};
pub(crate) use self::replay::ReplayOptions;
pub(crate) use self::retry::RetryOptions;
pub(crate) use self::schedule::{ScheduleChoice, ScheduleCommand, ScheduleDeed};
pub(crate) use self::show::ShowOptions;
pub(crate) use self::stats::StatsOptions;
pub(crate) use self::task::TaskOptions;
pub(crate) use self::top::TopOptions;
use crate::display::{clean, clean_lines};
use crate::{exit, terminal};

/// A durable task queue without a broker: a task is a file, a daemon runs it.
#[derive(Debug, Parser)]
#[command(name = "unspool", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the tasks of one or more spools, in the foreground.
    ///
    /// Takes uWSGI's configuration files and option names: `unspool run app.ini`, or
    /// `unspool run --spooler DIR --spooler-import MODULE [--spooler-processes N]`.
    #[command(disable_help_flag = true)]
    Run {
        /// Configuration files and uWSGI options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONFIG|OPTION")]
        args: Vec<OsString>,
    },
    /// Show the configuration that `run` would use: each setting, its place, its effect.
    ///
    /// Takes what `unspool run` takes, and `--json` and `--show-secrets`.
    #[command(disable_help_flag = true)]
    Config {
        /// Configuration files and uWSGI options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONFIG|OPTION")]
        args: Vec<OsString>,
    },
    /// Write a starter set-up for the application in a folder: ini file, systemd unit, Dockerfile.
    ///
    /// The files name the modules with tasks that it sees there, or an example. Replaces nothing unless
    /// told to. Exits with 1 if a file is there already.
    Init(InitOptions),
    /// Look at the whole set-up, and say what is wrong and how to mend it. Changes nothing.
    ///
    /// Looks at the configuration, the spools, the daemon, the application, which it imports, and the
    /// machine. Exits with 0 if no problem is found, with 1 if one is.
    Doctor(DoctorOptions),
    /// Submit a task and print the path of its file.
    Spool(Box<SpoolOptions>),
    /// List tasks: those that wait or run, and those that were given up.
    Ls(LsOptions),
    /// Show all that is known of one task. Runs nothing of it.
    Show(ShowOptions),
    /// Say why a task does not run, or not yet, or why it ran late or twice.
    ///
    /// Works with and without a daemon. Exits with 3 if there is no such task.
    Why(TaskOptions),
    /// Show the log: what the daemon has told, of all tasks or of one.
    ///
    /// A daemon keeps its last lines, and gives them to whoever asks. Without one the log file is read
    /// that the configuration names, or what is recorded of failed attempts.
    Logs(LogsOptions),
    /// Count tasks: by priority and whether they are due, and how long the oldest has waited.
    Stats(StatsOptions),
    /// Watch spools on a terminal: what runs, how fast, and what goes wrong.
    ///
    /// `?` says which keys there are. Without a terminal it prints one look.
    Top(TopOptions),
    /// Show what a running task does: the Python stacks of its worker.
    ///
    /// The task goes on. Works also while it is in C code. Exits with 3 if it does not run, with 4 if
    /// somebody runs it who cannot be asked.
    Stack(TaskOptions),
    /// Cancel tasks: pending ones are removed, running ones are stopped.
    #[command(visible_alias = "rm")]
    Cancel(CancelOptions),
    /// Make tasks pending again that were given up, and due now those that wait for another attempt.
    ///
    /// Their attempts count anew, and the record of the earlier ones stays.
    Retry(RetryOptions),
    /// Give pending tasks another priority or another due time.
    Mv(MvOptions),
    /// Change the arguments, the body or the due time of a task that does not run.
    Edit(Box<EditOptions>),
    /// Delete many tasks at once, and their records: given up, corrupt or pending ones.
    Purge(PurgeOptions),
    /// Run the call of a task once more, in the foreground, and leave the task as it is.
    ///
    /// The application is imported as the configuration says; without one, the module of the task's
    /// function. Exits with 0 if the task would be done, with 1 if it raises or wants to run again.
    Replay(ReplayOptions),
    /// Let nothing of a spool, a priority or a function run until `unspool resume`.
    ///
    /// Tasks that run finish. It holds for all daemons of the spool, also for those that start later, and
    /// needs none. A uWSGI on the same directory knows nothing of it.
    Pause(PauseOptions),
    /// Let run again what was paused.
    Resume(ResumeOptions),
    /// Pause a spool and wait until nothing of it runs.
    ///
    /// The spool stays paused: `unspool resume` lets it go on. Exits with 1 if something still runs when
    /// the time is over.
    Drain(DrainOptions),
    /// List the timers and crons, fire one now, pause and resume them.
    Schedule(ScheduleCommand),
    /// List or decide about tasks that uWSGI left and that the first start holds.
    Adopt(AdoptOptions),
    /// Check spool directories, and repair them if asked to; deletes no task.
    ///
    /// Safe at any moment, with and without daemons. Exits with 0 if no problem is left, with 1 if one
    /// is, with 2 if the command line or the configuration is wrong.
    Fsck(FsckCommand),
    /// Print a script that completes words of this command, for bash, zsh or fish.
    Completions(CompletionsOptions),
    /// What the scripts of `completions` ask.
    #[command(hide = true)]
    Complete(CompleteOptions),
    /// The reference of a command as Markdown.
    #[command(hide = true)]
    HelpMarkdown(HelpMarkdownOptions),
}

/// Which spool a command is about.
#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// The spool's directory [default: from --config, UNSPOOL_SPOOL or UNSPOOL_CONFIG].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) spooler: Option<PathBuf>,
    /// A configuration file that names the spools.
    #[arg(long, value_name = "FILE", conflicts_with = "spooler", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// Which configuration a command is about.
#[derive(Debug, Args)]
pub(crate) struct SetUpArgs {
    /// The configuration that names the spools [default: UNSPOOL_SPOOL or UNSPOOL_CONFIG].
    #[arg(value_name = "CONFIG", conflicts_with = "spooler", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The spool's directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) spooler: Option<PathBuf>,
}

/// Options of `unspool fsck`.
#[derive(Debug, Args)]
pub(crate) struct FsckCommand {
    #[command(flatten)]
    pub(crate) set_up: SetUpArgs,
    /// Put right what can be put right.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON, an object in each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `unspool adopt`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct AdoptOptions {
    #[command(flatten)]
    pub(crate) set_up: SetUpArgs,
    /// Let them run.
    #[arg(long, group = "decision")]
    pub(crate) run: bool,
    /// Leave them where they are, for good.
    #[arg(long, group = "decision")]
    pub(crate) hold: bool,
    /// Move them to the folder `dead` of the spool.
    #[arg(long, group = "decision")]
    pub(crate) bury: bool,
    /// Only tasks in this folder of the spool; `.` is the spool itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) folder: Option<OsString>,
    /// Only tasks of this function; `-` is tasks that name none.
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<OsString>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `unspool spool`.
#[derive(Debug, Args)]
pub(crate) struct SpoolOptions {
    /// The spool's directory, made if it is missing [default: from --config, UNSPOOL_SPOOL or
    /// UNSPOOL_CONFIG].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) spooler: Option<PathBuf>,
    /// A configuration file, or `FILE:SECTION`: its first spool, durability, keys, modes and bounds.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Not before this time, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<String>,
    /// Not before so many seconds from now.
    #[arg(long, value_name = "SECONDS", conflicts_with = "at")]
    pub(crate) delay: Option<f64>,
    /// The priority: a folder of the spool. Numbers come first, low before high.
    #[arg(long, value_name = "NAME")]
    pub(crate) priority: Option<String>,
    /// The task's body, from a file; `-` is standard input.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) body: Option<PathBuf>,
    /// How durable the task is when the command returns: none, file or group [default: the configured
    /// one, else group].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<String>,
    /// A file of keys: the first one signs the task [default: `spooler-keys` of the configuration].
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) keys: Option<PathBuf>,
    /// Send the task to the spooler that listens at this address: `HOST:PORT`, `tls:HOST:PORT`, the path
    /// of a socket or `@NAME`.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["spooler", "durability"])]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteOptions,
    /// Print JSON: the path and the id.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// The name of the task function.
    pub(crate) function: String,
    /// The task's arguments, as `key=value`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<OsString>,
}

/// How another machine is reached.
#[derive(Debug, Default, Args)]
pub(crate) struct RemoteOptions {
    /// With `--to`: a file of keys, of which the first one is proved to the receiver [default:
    /// `network-keys` of the configuration].
    #[arg(long, value_name = "FILE", requires = "to", value_hint = clap::ValueHint::FilePath)]
    pub(crate) network_keys: Option<PathBuf>,
    /// With `--to tls:...`: certificates of the authorities that are trusted [default: `network-ca` of
    /// the configuration].
    #[arg(long, value_name = "FILE", requires = "to", value_hint = clap::ValueHint::FilePath)]
    pub(crate) network_ca: Option<PathBuf>,
}

/// What a task asks for itself, instead of what the configuration says. A limit of 0 is none.
#[derive(Debug, Args)]
pub(crate) struct PolicyOptions {
    /// Failed attempts after which it is given up.
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u8>,
    /// Deaths of its worker after which it is given up.
    #[arg(long, value_name = "N")]
    pub(crate) max_deaths: Option<u8>,
    /// Failed attempts after which it is given up if it asks to run again.
    #[arg(long, value_name = "N")]
    pub(crate) max_retries: Option<u8>,
    /// Seconds between attempts.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry_delay: Option<f64>,
    /// The failed attempt from which on that time doubles.
    #[arg(long, value_name = "N")]
    pub(crate) backoff_from: Option<u8>,
    /// Seconds that it grows to.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) backoff_max: Option<f64>,
    /// Seconds after which an exception is raised in it.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) soft_time_limit: Option<f64>,
    /// Seconds after which its worker is killed.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_limit: Option<f64>,
    /// Seconds from now: if it has not started by then, it is given up.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) expires: Option<f64>,
}

/// Prints what came of parsing. An argument that would command the terminal is written out, and the
/// message has no colours then.
fn print_error(error: &clap::Error) -> io::Result<()> {
    let is_odd = |argument: OsString| {
        let argument = argument.to_string_lossy();
        clean(&argument) != argument
    };
    if !error.use_stderr() || !std::env::args_os().any(is_odd) {
        return error.print();
    }
    io::stderr().write_all(clean_lines(&error.render().to_string()).as_bytes())
}

/// Takes a negative number behind an option for its value: the option itself says what is wrong with it.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
    let negative =
        |arg: clap::Arg| if takes(&arg) { arg.allow_negative_numbers(true) } else { arg };
    command.mut_args(negative).mut_subcommands(with_negative_numbers)
}

/// Parses the command line. `Err` is the exit status after help, version or an error was shown.
pub(crate) fn parse() -> Result<Command, u8> {
    let matches = with_negative_numbers(Cli::command()).try_get_matches();
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(cli.command),
        Err(error) => {
            let shown = print_error(&error);
            if error.use_stderr() {
                return Err(exit::USAGE);
            }
            Err(terminal::printed(shown.and_then(|()| io::stdout().flush()), exit::OK))
        }
    }
}
