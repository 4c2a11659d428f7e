//! The command line: what can be typed, nothing of what it does.
#![expect(clippy::doc_markdown, reason = "these comments are help texts")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit;

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
    /// Submit a task and print the path of its file.
    Spool(Box<SpoolOptions>),
    /// List or decide about tasks that uWSGI left and that the first start holds.
    Adopt(AdoptOptions),
}

/// Options of `unspool adopt`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch")]
pub(crate) struct AdoptOptions {
    /// The configuration that names the spools [default: UNSPOOL_SPOOL or UNSPOOL_CONFIG].
    #[arg(value_name = "CONFIG", conflicts_with = "spooler", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The spool's directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) spooler: Option<PathBuf>,
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
    /// The spool's directory [default: from --config, UNSPOOL_SPOOL or UNSPOOL_CONFIG].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) spooler: Option<PathBuf>,
    /// A uWSGI configuration file that names the spool.
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
    /// How durable the task is when the command returns: none, file or group.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<String>,
    /// A file of keys: the first one signs the task [default: `spooler-keys` of the configuration].
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// The name of the task function.
    pub(crate) function: String,
    /// The task's arguments, as `key=value`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<OsString>,
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

/// Parses the command line. `Err` is the exit status after help, version or an error was shown.
pub(crate) fn parse() -> Result<Command, u8> {
    match Cli::try_parse() {
        Ok(cli) => Ok(cli.command),
        Err(error) => {
            // If nobody reads the help, nobody misses it.
            let _ = error.print();
            Err(if error.use_stderr() { exit::USAGE } else { exit::OK })
        }
    }
}
