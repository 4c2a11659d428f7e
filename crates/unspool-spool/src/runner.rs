//! Who runs a task, by the notes of the daemons of this machine: for those who ask while a daemon does
//! not answer, or is gone and its worker is not.

use std::io;
use std::os::fd::AsFd;

use unspool_sys::folder::Stat;

use crate::SpoolView;
use crate::daemons::RUNNING;
use crate::layout::DAEMONS;
use crate::present::is_of_this_host;
use crate::running::latest_run;

/// Daemon folders that are looked at: there is one for each daemon, and those of dead ones go.
const FOLDERS_MAX: usize = 1000;

/// A worker, and what it has noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runner {
    /// Its process.
    pub pid: u32,
    /// When it started the task, on the monotonic clock.
    pub started_ns: u64,
}

/// The worker that has noted that it runs a task, which is locked. The note of one that has ended since may
/// still be there: the lock says that somebody runs it.
pub fn runner(spool: &SpoolView, task: &Stat) -> io::Result<Option<Runner>> {
    let Some(internal) = spool.internal()? else { return Ok(None) };
    let daemons = match internal.open_sub(DAEMONS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut latest: Option<Runner> = None;
    for entry in daemons.list()?.take(FOLDERS_MAX) {
        let Ok(folder) = daemons.open_sub(&entry?.0) else { continue };
        if !is_of_this_host(&folder) {
            continue;
        }
        let Ok(notes) = folder.open_to_read(RUNNING) else { continue };
        let found = latest_run(notes.as_fd(), task.inode, task.ctime_ns)?;
        let runner = found.map(|(pid, started_ns)| Runner { pid, started_ns });
        latest = latest.into_iter().chain(runner).max_by_key(|runner| runner.started_ns);
    }
    Ok(latest)
}
