//! The spools that this process submits to.
//!
//! One table for the process. Its lock is taken with the interpreter lock held and released before
//! that is, so that no thread can hold it while another one forks. Spools are opened at their first
//! use, and again in a child process: what a thread of the parent held stays with the parent.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use unspool_core::{Durability, SpoolBounds, UnknownDurability};
use unspool_remote::Remote;
use unspool_spool::{Access, SpoolDir, Trust};
use unspool_sys::{folder, host};

use crate::errors::{ConfigError, SpoolError, spool_error};
use crate::{bounds, network, security};

static TABLE: Mutex<Table> = Mutex::new(Table {
    spools: Vec::new(),
    configured: 0,
    durability: Durability::Group,
    access: Access { sharing: None, group: None, strict: false },
    trust: Trust { keys: None, unsigned_uids: Vec::new(), network_pickle: false },
    bounds: SpoolBounds { tasks: None, bytes: None, free: None },
    pid: 0,
    edition: 0,
});

/// Spools that a process that is configured by nothing can use, each named by the key `spooler`.
const NAMED_MAX: usize = 64;

#[derive(Debug)]
struct Table {
    /// The configured ones first. Others are there only while there are none of these: then each
    /// task names its own.
    spools: Vec<Configured>,
    configured: usize,
    durability: Durability,
    access: Access,
    trust: Trust,
    bounds: SpoolBounds,
    /// The process that opened what is open.
    pid: u32,
    /// Counts configurations, so that a slow open cannot put an old spool into a new table.
    edition: u64,
}

/// A spool that was named, and is open once it was used.
#[derive(Debug)]
struct Configured {
    path: PathBuf,
    /// Of an outbox the name by which tasks ask for it, `relay:ADDRESS`.
    relay: Option<PathBuf>,
    /// A folder inside another configured spool: a priority of that one, not a spool.
    inside: Option<Inside>,
    open: Option<Arc<SpoolDir>>,
}

#[derive(Debug, Clone)]
struct Inside {
    index: usize,
    priority: Vec<u8>,
}

/// Where a task goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// To a spool of this machine.
    Here(Here),
    /// To a spooler that is elsewhere, or listens.
    There(Remote),
}

/// A spool, and what its name says.
#[derive(Debug)]
pub(crate) struct Here {
    pub(crate) spool: Arc<SpoolDir>,
    /// The priority that the spool's name stands for.
    pub(crate) priority: Option<Vec<u8>>,
    pub(crate) durability: Durability,
    /// Whether it is an outbox, whose tasks go to another machine.
    pub(crate) is_outbox: bool,
}

/// Names the spools of this process: absolute paths, the default one first, and of those that are
/// outboxes the names. Reads the keys, and opens nothing else yet.
#[pyfunction]
#[pyo3(signature = (spools, relays, durability, security, bounds, /))]
pub(crate) fn configure(
    spools: Vec<Bound<'_, PyBytes>>,
    relays: Vec<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>,
    durability: &str,
    security: &Bound<'_, PyAny>,
    bounds: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (access, trust) = security::from_python(security)?;
    let bounds = bounds::from_python(bounds)?;
    let durability = durability
        .parse()
        .map_err(|error: UnknownDurability| ConfigError::new_err(error.to_string()))?;
    let paths: Vec<PathBuf> = spools.iter().map(|path| path_of(path.as_bytes())).collect();
    let relay = |path: &Path| {
        let named = relays.iter().find(|(_, outbox)| path_of(outbox.as_bytes()) == path);
        named.map(|(name, _)| path_of(name.as_bytes()))
    };
    let spools = paths
        .iter()
        .map(|path| Configured {
            path: path.clone(),
            relay: relay(path),
            inside: inside(path, &paths),
            open: None,
        })
        .collect();
    let mut table = table();
    table.configured = paths.len();
    table.spools = spools;
    table.durability = durability;
    table.access = access;
    table.trust = trust;
    table.bounds = bounds;
    table.edition += 1;
    drop(table);
    network::forget();
    Ok(())
}

/// Where a value of the key `spooler` says; an absent or empty one means the first spool.
pub(crate) fn target(py: Python<'_>, spooler: Option<&[u8]>) -> PyResult<Target> {
    let Some(wanted) = spooler.filter(|value| !value.is_empty()) else {
        return at_first(py).map(Target::Here);
    };
    let wanted = path_of(wanted);
    let index = match known(py, &wanted) {
        Some(index) => index,
        None if is_relay(&wanted) => find(&wanted)?,
        None => match network::address_in(py, &wanted) {
            Some(address) => return network::remote(py, &address).map(Target::There),
            None => find(&wanted)?,
        },
    };
    at(py, index).map(Target::Here)
}

fn at_first(py: Python<'_>) -> PyResult<Here> {
    if table().configured == 0 {
        return Err(SpoolError::new_err("no spool is configured in this process"));
    }
    at(py, 0)
}

fn at(py: Python<'_>, index: usize) -> PyResult<Here> {
    let (inside, is_outbox, durability) = {
        let table = table();
        let spool = table.spools.get(index);
        let is_outbox = spool.is_some_and(|spool| spool.relay.is_some());
        (spool.and_then(|spool| spool.inside.clone()), is_outbox, table.durability)
    };
    let (index, priority) = match inside {
        None => (index, None),
        Some(Inside { index, priority }) => (index, Some(priority)),
    };
    Ok(Here { spool: opened(py, index)?, priority, durability, is_outbox })
}

/// The configured spool of a path: as it was configured, else, as in uWSGI, its canonical form, else
/// the only one that ends in a relative path: `uwsgi.opt["spooler"]` may be one. In a process that
/// is configured by nothing, one that was named before.
fn known(py: Python<'_>, wanted: &Path) -> Option<usize> {
    let (paths, configured, found) = {
        let table = table();
        let spools = &table.spools;
        let paths: Vec<PathBuf> = spools.iter().map(|spool| spool.path.clone()).collect();
        let is_wanted =
            |spool: &Configured| spool.path == wanted || spool.relay.as_deref() == Some(wanted);
        (paths, table.configured, spools.iter().position(is_wanted))
    };
    if configured == 0 {
        return found;
    }
    let found = found.or_else(|| {
        py.detach(|| {
            paths
                .iter()
                .position(|path| folder::canonical(path).is_ok_and(|canonical| canonical == wanted))
        })
    });
    found.or_else(|| only_end(&paths, wanted))
}

/// The spool of a path that is neither configured nor an address: in a process that is configured by
/// nothing, any absolute one.
fn find(wanted: &Path) -> PyResult<usize> {
    if table().configured == 0 {
        return name(wanted);
    }
    let named =
        |spool: &Configured| format!("`{}`", spool.relay.as_ref().unwrap_or(&spool.path).display());
    let paths: Vec<String> = table().spools.iter().map(named).collect();
    Err(SpoolError::new_err(format!(
        "`spooler` is `{}`, which is not configured in this process: use one of {}, or the address of \
         a spooler that listens, as in 127.0.0.1:10001",
        wanted.display(),
        paths.join(", ")
    )))
}

/// Whether a value names a relay. Its outbox is where a configuration says, so that it has to be
/// one of those.
fn is_relay(wanted: &Path) -> bool {
    relay_address(wanted).is_some()
}

/// The address that it names.
fn relay_address(wanted: &Path) -> Option<&str> {
    wanted.to_str()?.strip_prefix("relay:")
}

/// The only path that ends in a relative one.
fn only_end(paths: &[PathBuf], wanted: &Path) -> Option<usize> {
    let wanted = wanted.strip_prefix(".").unwrap_or(wanted);
    if !wanted.is_relative() || wanted.as_os_str().is_empty() {
        return None;
    }
    let mut ends = paths.iter().enumerate().filter(|(_, path)| path.ends_with(wanted));
    match (ends.next(), ends.next()) {
        (Some((index, _)), None) => Some(index),
        _ => None,
    }
}

/// The place of a spool that only the key `spooler` names.
fn name(wanted: &Path) -> PyResult<usize> {
    if is_relay(wanted) {
        return Err(SpoolError::new_err(format!(
            "`spooler` is `{}`, and this process has no configuration that says where tasks for it wait: \
             name one with `spooler = {0}` (unspool.configure(config=...)), or give the address alone",
            wanted.display()
        )));
    }
    if !wanted.is_absolute() {
        return Err(SpoolError::new_err(format!(
            "`spooler` is `{}`, and no spool is configured in this process: give its absolute path",
            wanted.display()
        )));
    }
    let mut table = table();
    if let Some(known) = table.spools.iter().position(|spool| spool.path == wanted) {
        return Ok(known);
    }
    if table.spools.len() >= NAMED_MAX {
        return Err(SpoolError::new_err(format!(
            "`spooler` named {NAMED_MAX} different directories in this process: configure those \
             that it uses, unspool.configure(spooler=[...])"
        )));
    }
    table.spools.push(Configured {
        path: wanted.to_owned(),
        relay: None,
        inside: None,
        open: None,
    });
    Ok(table.spools.len() - 1)
}

/// The first spool, if there is one.
pub(crate) fn first(py: Python<'_>) -> PyResult<Arc<SpoolDir>> {
    Ok(at_first(py)?.spool)
}

/// All spools that are configured, none twice.
pub(crate) fn all(py: Python<'_>) -> PyResult<Vec<Arc<SpoolDir>>> {
    let indices: Vec<usize> = {
        let table = table();
        let spools = table.spools.iter().take(table.configured).enumerate();
        spools.filter(|(_, spool)| spool.inside.is_none()).map(|(index, _)| index).collect()
    };
    if indices.is_empty() {
        return Err(SpoolError::new_err("no spool is configured in this process"));
    }
    indices.into_iter().map(|index| opened(py, index)).collect()
}

/// The spool of a canonical path, which is there: as it is configured, if it is.
pub(crate) fn spool_at(py: Python<'_>, path: &Path) -> PyResult<Arc<SpoolDir>> {
    let paths: Vec<PathBuf> = table().spools.iter().map(|spool| spool.path.clone()).collect();
    let known = py.detach(|| {
        paths.iter().position(|known| {
            known == path || folder::canonical(known).is_ok_and(|canonical| canonical == path)
        })
    });
    match known {
        Some(index) => opened(py, index),
        None => py
            .detach(|| SpoolDir::open(path))
            .map(Arc::new)
            .map_err(|error| spool_error(py, &error)),
    }
}

fn opened(py: Python<'_>, index: usize) -> PyResult<Arc<SpoolDir>> {
    let (path, relay, access, keys, bounds, edition) = {
        let mut table = table();
        let pid = host::pid();
        if table.pid != pid {
            table.pid = pid;
            for spool in &mut table.spools {
                spool.open = None;
            }
        }
        match table.spools.get(index) {
            None => return Err(SpoolError::new_err("no spool is configured in this process")),
            // Somebody may have put another directory in its place.
            Some(Configured { open: Some(open), .. }) if open.was_in_place() => {
                return Ok(Arc::clone(open));
            }
            Some(spool) => {
                let keys = table.trust.keys.clone();
                let (path, relay) = (spool.path.clone(), spool.relay.clone());
                (path, relay, table.access.clone(), keys, table.bounds, table.edition)
            }
        }
    };
    let open = py
        .detach(|| match relay.as_deref().and_then(relay_address) {
            Some(address) => SpoolDir::open_outbox(&path, &access, address),
            None => SpoolDir::open_with(&path, &access),
        })
        .map(|spool| Arc::new(spool.sign_with(keys).bounded(bounds)))
        .map_err(|error| spool_error(py, &error))?;
    let mut table = table();
    if table.edition == edition
        && let Some(spool) = table.spools.get_mut(index)
    {
        spool.open = Some(Arc::clone(&open));
    }
    Ok(open)
}

/// Whose tasks this process runs.
pub(crate) fn trust() -> Trust {
    table().trust.clone()
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path without a trailing slash.
fn path_of(bytes: &[u8]) -> PathBuf {
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes[..end.min(bytes.len())]))
}

/// Whether a path is a priority's folder of another configured spool.
fn inside(path: &Path, all: &[PathBuf]) -> Option<Inside> {
    let parent = path.parent()?;
    let priority = unspool_core::Priority::new(path.file_name()?.as_bytes()).ok()?;
    let index = all.iter().position(|other| other == parent)?;
    Some(Inside { index, priority: priority.as_bytes().to_vec() })
}
