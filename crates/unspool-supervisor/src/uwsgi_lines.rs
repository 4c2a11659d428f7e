//! The lines of uWSGI's log that people's scripts look for, as far as the daemon writes them.
//!
//! Their target is `uwsgi`: the binary shows them with `spooler-log-format = uwsgi` and drops them
//! otherwise. What a worker says of its tasks is in the Python package, `unspool/_lines.py`, and the
//! line of the statistics is the binary's.

use std::path::Path;

use tracing::info;
use unspool_sys::process::Exit;

/// The master runs.
pub(crate) fn master(pid: u32) {
    info!(target: "uwsgi", "spawned uWSGI master process (pid: {pid})");
}

/// A process for the tasks of a spool was forked.
pub(crate) fn spawned(spool: &Path, pid: u32) {
    let spool = spool.display();
    info!(target: "uwsgi", "spawned the uWSGI spooler on dir {spool} with pid {pid}");
}

/// A process for tasks ended, and another one takes its place.
pub(crate) fn respawning() {
    info!(target: "uwsgi", "OOOPS the spooler is no more...trying respawn...");
}

/// A process for tasks is killed, because its task takes too long.
pub(crate) fn harakiri(pid: u32) {
    info!(target: "uwsgi", "*** HARAKIRI ON THE SPOOLER (pid: {pid}) ***");
}

/// A mule is killed, because its handler of a signal takes too long.
pub(crate) fn harakiri_mule(mule: u32, signal: u64, pid: u32) {
    info!(target: "uwsgi", "*** HARAKIRI ON MULE {mule} HANDLING SIGNAL {signal} (pid: {pid}) ***");
}

/// A process for tasks ended, having run as many as it may.
pub(crate) fn recycling(spool: &Path, pid: u32, tasks: u64) {
    let spool = spool.display();
    info!(
        target: "uwsgi",
        "[spooler {spool} pid: {pid}] maximum number of tasks reached ({tasks}) recycling ..."
    );
}

/// A web worker was forked; they count from 1.
pub(crate) fn spawned_worker(number: u32, pid: u32, cores: u32) {
    info!(target: "uwsgi", "spawned uWSGI worker {number} (pid: {pid}, cores: {cores})");
}

/// The same in the place of one that has ended.
pub(crate) fn respawned_worker(number: u32, pid: u32) {
    info!(target: "uwsgi", "Respawned uWSGI worker {number} (new pid: {pid})");
}

/// A web worker has ended, and another one takes its place.
pub(crate) fn died(number: u32, pid: u32, exit: Exit) {
    match exit {
        Exit::Killed(signal) => info!(
            target: "uwsgi",
            "DAMN ! worker {number} (pid: {pid}) died, killed by signal {signal} :( trying respawn ..."
        ),
        Exit::Status(_) => {
            info!(target: "uwsgi", "DAMN ! worker {number} (pid: {pid}) died :( trying respawn ...");
        }
    }
}

/// A web worker is killed, because the request of a thread takes too long.
pub(crate) fn harakiri_worker(number: u32, pid: u32, core: usize) {
    info!(target: "uwsgi", "*** HARAKIRI ON WORKER {number} (pid: {pid}, try: 1, graceful: yes) ***");
    info!(target: "uwsgi", "HARAKIRI triggered by worker {number} core {core} !!!");
}

/// A web worker has answered as many requests as it may.
pub(crate) fn work_is_done(pid: u32) {
    info!(target: "uwsgi", "...The work of process {pid} is done. Seeya!");
}

/// It has ended.
pub(crate) fn killed_successfully(number: u32, pid: u32) {
    info!(target: "uwsgi", "worker {number} killed successfully (pid: {pid})");
}

/// A web worker ended with the daemon's stop.
pub(crate) fn buried(number: u32, seconds: u64) {
    info!(target: "uwsgi", "worker {number} buried after {seconds} seconds");
}

/// Web workers have no application.
pub(crate) fn no_application(goes_on: bool) {
    info!(target: "uwsgi", "unable to load app 0 (mountpoint='') (callable not found or import error)");
    if goes_on {
        info!(target: "uwsgi", "*** no app loaded. going in full dynamic mode ***");
    } else {
        info!(target: "uwsgi", "*** no app loaded. GAME OVER ***");
    }
}

/// A mule was forked; they count from 1.
pub(crate) fn spawned_mule(number: u32, pid: u32) {
    info!(target: "uwsgi", "spawned uWSGI mule {number} (pid: {pid})");
}

/// A mule ended with the daemon's stop.
pub(crate) fn annihilated_mule(number: u32, pid: u32) {
    info!(target: "uwsgi", "mule {number} (pid: {pid}) annihilated");
}

/// The daemon begins to stop.
pub(crate) fn stopping() {
    info!(target: "uwsgi", "SIGINT/SIGTERM received...killing workers...");
}

/// A process for tasks is told to end.
pub(crate) fn killing(pid: u32) {
    info!(target: "uwsgi", "killing the spooler with pid {pid}");
}

/// A process for tasks ended with the daemon's stop.
pub(crate) fn annihilated(pid: u32) {
    info!(target: "uwsgi", "spooler (pid: {pid}) annihilated");
}

/// The application is to be loaded again.
pub(crate) fn reloading() {
    info!(target: "uwsgi", "...gracefully killing workers...");
}

/// The last line.
pub(crate) fn goodbye() {
    info!(target: "uwsgi", "goodbye to uWSGI.");
}
