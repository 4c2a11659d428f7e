//! `unspool run`: the daemon, in the foreground.

use std::ffi::OsString;
use std::io::Write;

use tracing::{info, warn};
use unspool_config::{Environment, Notice, Sources, load};
use unspool_sys::host;

use crate::logging::complain;
use crate::{exit, logging, resolve, serving};

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
  --ini FILE[:SECTION]     a configuration file; also --yaml, --xml, --json
Of unspool alone:
  --spooler-durability L   none, file or group: when a submission returns [default: group]
  --spooler-stop-timeout S seconds that running tasks may take at a stop [default: 60]
  --spooler-settle S       seconds that a torn file is left alone [default: 60]
  --spooler-adopt WHAT     run, hold or bury what uWSGI left and never ran [default: ask]

SIGTERM, SIGINT: let running tasks finish, then stop. SIGHUP: reload the application.
";

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: Vec<OsString>) -> u8 {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        // If nobody reads the help, nobody misses it.
        let _ = std::io::stdout().write_all(USAGE.as_bytes());
        return exit::OK;
    }
    let environment = Environment::current();
    let log = match logging::start(environment.log_filter().as_deref()) {
        Ok(log) => log,
        Err(error) => {
            complain(&error);
            return exit::FAILED;
        }
    };
    let status = run_daemon(Sources { args, environment });
    log.flush();
    status
}

fn run_daemon(sources: Sources) -> u8 {
    let loaded = match load(&sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    for notice in &loaded.notices {
        match notice {
            Notice::Printed { text } => info!("{text}"),
            notice => warn!("{notice}"),
        }
    }
    if loaded.config.show_config {
        for entry in &loaded.config.entries {
            info!("{} = {}", entry.name, entry.shown().unwrap_or_default());
        }
    }
    if let Some(mask) = loaded.config.umask {
        host::set_umask(mask);
    }
    let mut settings = match resolve::settings(&loaded.config) {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error);
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
    host::raise_open_files_limit();
    if host::is_root() {
        warn!("running as root: tasks can do anything to this machine");
    }
    for spool in &settings.spools {
        let path = spool.dir.path().display();
        info!(%path, workers = spool.workers, "spool");
        if let Some(mode) = spool.dir.open_to_others() {
            warn!(
                "spool `{path}` has mode {mode:04o}: whoever can write a file there decides what \
                 your workers run; `chmod 700 {path}` keeps others out"
            );
        }
    }
    // It lives as long as the daemon does.
    let _server = match serving::start(&loaded.config, listeners, &mut settings) {
        Ok(server) => server,
        Err(error) => {
            complain(&error);
            return exit::FAILED;
        }
    };
    match unspool_supervisor::run(settings) {
        Ok(()) => exit::OK,
        Err(error) => {
            complain(&error);
            exit::FAILED
        }
    }
}
