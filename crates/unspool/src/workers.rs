//! How many workers each spool gets, and what limits them.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use unspool_config::{Config, Spooler};
use unspool_core::Priority;
use unspool_core::limits::WORKERS_MAX;
use unspool_supervisor::{Dedicated, Limits, MemoryLimits};

use crate::resolve::{ResolveError, is_priority_of, own_spoolers};

/// Workers that run all tasks of a spool.
pub(crate) fn general(config: &Config, spooler: &Spooler) -> u32 {
    config.workers.processes_of(&spooler.path).unwrap_or(config.spooler_processes).max(1)
}

/// Workers for single folders of a spool: those that are named as spools themselves, and those that
/// `spooler-processes-of` names.
pub(crate) fn dedicated(config: &Config, spooler: &Spooler) -> Vec<Dedicated> {
    let own = own_spoolers(config);
    let named = own.iter().filter(|other| is_priority_of(other, &own)).map(|other| &other.path);
    let counted = config.workers.processes_of.iter().map(|(path, _)| path);
    let mut paths: Vec<&PathBuf> = Vec::new();
    for path in named.chain(counted) {
        if path.parent() == Some(&*spooler.path) && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
        .into_iter()
        .filter_map(|path| {
            let priority = Priority::new(path.file_name()?.as_bytes()).ok()?;
            let workers = config.workers.processes_of(path).unwrap_or(config.spooler_processes);
            Some(Dedicated { priority, workers: workers.max(1) })
        })
        .collect()
}

/// Whether the numbers of workers are of spools that are run, and not too many.
pub(crate) fn check(config: &Config) -> Result<(), ResolveError> {
    let own = own_spoolers(config);
    for (path, _) in &config.workers.processes_of {
        let is_spool = own.iter().any(|spooler| spooler.path == *path);
        let is_priority =
            path.file_name().is_some_and(|name| Priority::new(name.as_bytes()).is_ok());
        let is_folder = own.iter().any(|spooler| Some(&*spooler.path) == path.parent());
        if !(is_spool || is_priority && is_folder) {
            return Err(ResolveError::ProcessesOf { path: path.clone() });
        }
    }
    let workers: usize = own
        .iter()
        .filter(|spooler| !is_priority_of(spooler, &own))
        .map(|spooler| {
            let dedicated = dedicated(config, spooler);
            let dedicated: u32 = dedicated.iter().map(|dedicated| dedicated.workers).sum();
            (general(config, spooler) + dedicated) as usize
        })
        .sum();
    let web = if config.has_web_workers() { config.web.processes as usize } else { 0 };
    let workers = workers + web;
    let most = WORKERS_MAX / 2;
    if workers > most { Err(ResolveError::Workers { workers, most }) } else { Ok(()) }
}

/// What limits workers.
pub(crate) fn limits(config: &Config) -> Limits {
    let workers = &config.workers;
    let bytes = |mib: Option<u64>| mib.map(|mib| mib.saturating_mul(1 << 20));
    Limits {
        max_tasks: workers.max_tasks,
        signal_as_task: workers.signal_as_task,
        harakiri: workers.harakiri,
        handler_harakiri: workers.handler_harakiri,
        lifetime: workers.lifetime,
        lifetime_delta: workers.lifetime_delta,
        memory: MemoryLimits {
            reload_on_rss: bytes(workers.reload_on_rss),
            reload_on_as: bytes(workers.reload_on_as),
            evil_reload_on_rss: bytes(workers.evil_reload_on_rss),
            evil_reload_on_as: bytes(workers.evil_reload_on_as),
        },
        reload_mercy: workers.reload_mercy(),
        import_timeout: workers.import_timeout,
        cheap: workers.cheap,
    }
}
