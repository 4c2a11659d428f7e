//! `unspool run`: the daemon, in the foreground unless `daemonize` says otherwise.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};
use unspool_config::{
    Config, Environment, Loaded, Notice, PidFiles as PidFilePaths, Sources, load,
};
use unspool_supervisor::journal::LineRing;
use unspool_supervisor::{Moment, Moments, RunError, Settings};
use unspool_sys::background::Launcher;
use unspool_sys::{host, title};

use super::signal;
use crate::cli;
use crate::listening::{self, Bound, Listening};
use crate::logging::{Log, complain, complain_text, with_causes};
use crate::resolve::ResolveError;
use crate::setup::{Begun, PidFiles};
use crate::{exit, logging, relays, resolve, serving, setup, terminal};

const USAGE: &str = "\
Run the tasks of one or more spools, in the foreground, logging to standard error.

Usage: unspool run [CONFIG] [OPTION]...

Options are uWSGI's; those that matter most:
  --spooler DIR            a spool directory; created if it is missing; repeatable
  --spooler-import MODULE  a module or file with task functions; repeatable
  --spooler-processes N    worker processes for each spool [default: 1]
  --spooler-frequency S    seconds between retries of a task [default: 30]
  --spooler-quiet          no log line for each task that is done
  --module MODULE          the web application, where handlers may be defined
  --pythonpath DIR         in front of Python's module path; repeatable
  --chdir DIR              change to this directory first
  --virtualenv DIR         the Python environment of the workers
  --stats ADDRESS          serve statistics as JSON: HOST:PORT, :PORT, a path or @NAME
  --socket ADDRESS         take tasks from the network there
  --ini FILE[:SECTION]     a configuration file; also --yaml, --xml, --json
  --daemonize FILE         go into the background and log to FILE
  --pidfile FILE           where to write the process; `--stop FILE` and `--reload FILE` read it
  --uid USER, --gid GROUP  who to become, when started as root
  --logger file:FILE       where to log; also stdio, syslog and socket:ADDRESS
Of unspool alone:
  --spooler-durability L   none, file or group: when a submission returns [default: group]
  --spooler-stop-timeout S seconds that running tasks may take at a stop [default: 60]
  --spooler-settle S       seconds that a torn file is left alone [default: 60]
  --spooler-log-format F   unspool, json, or uwsgi for the lines of uWSGI's log [default: unspool];
                           `--log-format json` says the same
  --spooler-keys FILE      keys with which tasks are signed; others are refused
  --spooler-group GROUP    share the spool with this group
  --spooler-adopt WHAT     run, hold or bury what uWSGI left and never ran [default: ask]

SIGTERM, SIGINT: let running tasks finish, then stop. SIGQUIT: stop at once. SIGHUP: reload the
application. SIGUSR1: log how the spools are doing.
";

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: Vec<OsString>) -> u8 {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return terminal::print(USAGE, exit::OK);
    }
    if let Some(status) = signal::run(&args) {
        return status;
    }
    let args = cli::own_log_format(args);
    let environment = Environment::current();
    let filter = environment.log_filter();
    let state_folders = environment.state_directories();
    let mut loaded = match load(&Sources { args, environment }) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    // What is wrong is told on the terminal, as far as it can be known already.
    if let Err(error) = resolve::check(&loaded.config) {
        complain(&error);
        return error.exit_status();
    }
    let mut process = match setup::begin(&loaded.config) {
        Ok(Begun::Daemon(process)) => process,
        Ok(Begun::Ended(status)) => return status,
        Err(error) => {
            complain(&error);
            return error.exit_status();
        }
    };
    let sinks = std::mem::take(&mut process.sinks);
    let lines = Arc::new(LineRing::default());
    let log = match logging::start(filter.as_deref(), sinks, &loaded.config.daemon, &lines) {
        Ok(log) => log,
        Err(error) => {
            complain(&error);
            return exit::FAILED;
        }
    };
    let launcher = Arc::new(Mutex::new(process.launcher.take()));
    let pid_files = Arc::new(Mutex::new(process.pid_files));
    let up = Up { launcher: Arc::clone(&launcher), pid_files: Arc::clone(&pid_files), lines };
    let mut steps = process.steps;
    loaded.config.env.append(&mut steps.env.clone());
    let became = process.became.as_deref();
    let bound = process.bound;
    let status = run_daemon(&loaded, state_folders, became, bound, &process.remarks, &log, up);
    for error in steps.take_last() {
        warn!("{}", with_causes(&error));
    }
    for remark in locked(&pid_files).remove() {
        warn!("{remark}");
    }
    log.flush();
    tell(&launcher, status);
    status
}

/// What is done once the daemon is up, and what its log keeps.
struct Up {
    lines: Arc<LineRing>,
    launcher: Arc<Mutex<Option<Launcher>>>,
    pid_files: Arc<Mutex<PidFiles>>,
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the wait of the command that started the daemon, once.
fn tell(launcher: &Mutex<Option<Launcher>>, status: u8) {
    if let Some(launcher) = locked(launcher).take() {
        launcher.tell(status);
    }
}

/// When the daemon is up: the launcher ends, and the pid files are written that say so.
fn moments(config: &Config, log: &Log, up: Up) -> Moments {
    let waits_for_import =
        config.daemon.daemonize.as_ref().is_some_and(|daemonize| daemonize.after_import);
    let Up { launcher, pid_files, .. } = up;
    let tell_now = Arc::clone(&launcher);
    let again = Arc::clone(&pid_files);
    let has_pid_files = config.daemon.pid_files != PidFilePaths::default();
    Moments {
        started: Moment::new(move || {
            if !waits_for_import {
                tell(&tell_now, exit::OK);
            }
        }),
        imported: Moment::new(move || {
            for remark in locked(&pid_files).write_safe() {
                warn!("{remark}");
            }
            tell(&launcher, exit::OK);
        }),
        reloaded: log
            .reopener()
            .filter(|_| config.daemon.log_file.reopen)
            .map(Moment::new)
            .unwrap_or_default(),
        reopen_logs: log.reopener().map(Moment::new).unwrap_or_default(),
        rotate_log: log.rotator().map(Moment::new).unwrap_or_default(),
        write_pidfiles: if has_pid_files {
            Moment::new(move || {
                for remark in locked(&again).write_again() {
                    warn!("{remark}");
                }
            })
        } else {
            Moment::default()
        },
    }
}

/// What the configuration and the set-up left to say.
fn log_notices(loaded: &Loaded, remarks: &[String]) {
    for notice in &loaded.notices {
        match notice {
            Notice::Printed { text } => info!("{text}"),
            notice => warn!("{notice}"),
        }
    }
    for remark in remarks {
        warn!("{remark}");
    }
    if loaded.config.show_config {
        for entry in &loaded.config.entries {
            info!("{} = {}", entry.name, entry.shown().unwrap_or_default());
        }
    }
}

/// The spools, and who could make the workers run what.
fn log_surroundings(settings: &Settings) {
    if host::is_root() {
        warn!("running as root: tasks can do anything to this machine; name a user with `uid`");
    }
    for spool in &settings.spools {
        let path = spool.dir.path().display();
        info!(%path, workers = spool.workers, "spool");
        if let Some(mode) = spool.dir.open_to_others() {
            let what = if mode & 0o022 == 0 {
                "others can see that there are tasks, and when"
            } else {
                "whoever can write a file there decides what your workers run"
            };
            warn!(
                "spool `{path}` has mode {mode:04o}: {what}; `chmod 700 {path}` keeps others out"
            );
        }
    }
}

fn run_daemon(
    loaded: &Loaded,
    state_folders: Vec<PathBuf>,
    became: Option<&str>,
    bound: Option<Bound>,
    remarks: &[String],
    log: &Log,
    up: Up,
) -> u8 {
    log_notices(loaded, remarks);
    let mut settings = match resolve::settings(&loaded.config, state_folders) {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error);
            if let (Some(user), ResolveError::Spool(spool)) = (became, &error) {
                complain_text(&setup::advice(user, spool));
            }
            return error.exit_status();
        }
    };
    let listeners = match serving::bind(&loaded.config) {
        Ok(listeners) => listeners,
        Err(error) => {
            complain(&error);
            return exit::FAILED;
        }
    };
    let Listening { network, web } = match listening::settle(&loaded.config, bound) {
        Ok(listening) => listening,
        Err(error) => {
            complain(&error);
            return error.exit_status();
        }
    };
    let relays = match relays::settings(&loaded.config) {
        Ok(relays) => relays,
        Err(error) => {
            complain(&error);
            return error.exit_status();
        }
    };
    host::raise_open_files_limit();
    log_surroundings(&settings);
    // The names of their files last as long as this does.
    let _web = match web.map(|web| web.give(&loaded.config, &mut settings)).transpose() {
        Ok(listeners) => listeners,
        Err(error) => {
            complain(&error);
            return error.exit_status();
        }
    };
    // It lives as long as the daemon does.
    let _server = match serving::start(&loaded.config, listeners, network, &mut settings) {
        Ok(server) => server,
        Err(error) => {
            complain(&error);
            return exit::FAILED;
        }
    };
    let _forwarders = match relays::start(relays) {
        Ok(forwarders) => forwarders,
        Err(error) => {
            complain(&error);
            return error.exit_status();
        }
    };
    if let Some(title) = loaded.config.daemon.titles.of_daemon() {
        title::set(title.as_bytes());
    }
    let lines = Arc::clone(&up.lines);
    let moments = moments(&loaded.config, log, up);
    match unspool_supervisor::run(Settings { moments, lines, ..settings }) {
        Ok(()) => exit::OK,
        Err(error) => {
            complain(&error);
            match error {
                RunError::NoApplication => exit::NO_APPLICATION,
                _ => exit::FAILED,
            }
        }
    }
}
