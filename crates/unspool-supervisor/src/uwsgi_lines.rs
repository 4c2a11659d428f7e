//! The lines of uWSGI's log that people's scripts look for, as far as the daemon writes them.
//!
//! Their target is `uwsgi`: the binary shows them with `spooler-log-format = uwsgi` and drops them
//! otherwise. What a worker says of its tasks is in the Python package, `unspool/_lines.py`.

use std::path::Path;

use tracing::info;

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

/// A process is killed, because its task takes too long.
#[expect(dead_code, reason = "nothing limits the time of a task yet")]
pub(crate) fn harakiri(pid: u32) {
    info!(target: "uwsgi", "*** HARAKIRI ON THE SPOOLER (pid: {pid}) ***");
}

/// The statistics can be asked for.
#[expect(dead_code, reason = "there are no statistics yet")]
pub(crate) fn stats_enabled(address: &str, descriptor: i32) {
    info!(target: "uwsgi", "*** Stats server enabled on {address} fd: {descriptor} ***");
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
