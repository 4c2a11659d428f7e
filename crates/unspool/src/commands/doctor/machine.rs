//! The machine: what of it limits a daemon.

use std::path::Path;

use unspool_sys::host;

use super::Findings;

/// A daemon with fewer descriptors serves few folders and workers.
const OPEN_FILES_MIN: usize = 4096;
/// Folders that one daemon watches, and others beside it.
const WATCHES_MIN: u64 = 8192;
/// Event queues of one user; a daemon has two for each spool.
const INSTANCES_MIN: u64 = 64;

pub(super) fn look() -> Findings {
    let mut found = Findings::of("machine");
    host::raise_open_files_limit();
    let files = host::open_files_limit();
    if files < OPEN_FILES_MIN {
        found.warning(
            format!("a process may have {files} open files"),
            format!(
                "allow more: `LimitNOFILE={OPEN_FILES_MIN}` in the unit of systemd, or `ulimit -n {OPEN_FILES_MIN}` \
                 by root before it starts the daemon"
            ),
        );
    }
    for (name, least) in [("max_user_watches", WATCHES_MIN), ("max_user_instances", INSTANCES_MIN)]
    {
        let path = Path::new("/proc/sys/fs/inotify").join(name);
        let value = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        if value.is_some_and(|value: u64| value < least) {
            let value = value.unwrap_or_default();
            found.warning(
                format!("fs.inotify.{name} is {value}: new tasks may be found by scans alone"),
                format!("`sysctl fs.inotify.{name}={least}`"),
            );
        }
    }
    if host::is_root() {
        found.note("this is root: what it can do, the user of the daemon may not be able to do");
    }
    if found.found.is_empty() {
        found.fine(format!("{files} open files for a process, and room for its events"));
    }
    found
}
