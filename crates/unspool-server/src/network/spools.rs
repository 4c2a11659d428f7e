//! Where tasks of the network go: by the value of their key `spooler`, and how they get there.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use unspool_core::taskfile::KEY_PRIORITY;
use unspool_core::{Durability, Message};
use unspool_spool::{Reception, SpoolDir, SubmitError, Submitted, submit_measured};
use unspool_wire::peer::printable;

/// A spool that takes tasks of the network.
#[derive(Debug)]
pub struct NetworkSpool {
    /// As it is configured.
    pub path: PathBuf,
    /// Where the path is the folder of a priority in that spool: the priority.
    pub priority: Option<Vec<u8>>,
    /// Opened for this alone.
    pub spool: Arc<SpoolDir>,
    /// Of tasks that come as uwsgi packets; those of our own protocol are always durable.
    pub durability: Durability,
}

/// What could not be settled.
#[derive(Debug, thiserror::Error)]
#[error("cannot settle what was being received in spool `{spool}`: {source}")]
pub struct SpoolsError {
    spool: PathBuf,
    source: io::Error,
}

#[derive(Debug)]
pub(super) struct Spools {
    all: Vec<Arc<Taking>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Taking {
    spool: NetworkSpool,
    /// Opened at its first use.
    reception: OnceLock<Arc<Reception>>,
}

/// No spool of that name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSpool {
    #[error("no spool is configured here (the spooler is inactive)")]
    Inactive,
    #[error("`spooler` is `{0}`, which is no spool that takes tasks of the network here")]
    Unknown(String),
}

impl Spools {
    pub(super) fn new(spools: Vec<NetworkSpool>) -> Self {
        let taking = |spool| Arc::new(Taking { spool, reception: OnceLock::new() });
        Self { all: spools.into_iter().map(taking).collect() }
    }

    /// The spool for a value of the key `spooler`: as it is configured, its canonical path, or the only
    /// one that ends so.
    pub(super) fn find(&self, spooler: &[u8]) -> Result<Arc<Taking>, NoSpool> {
        let first = self.all.first().ok_or(NoSpool::Inactive)?;
        let end = spooler.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        if end == 0 {
            return Ok(Arc::clone(first));
        }
        let wanted = Path::new(OsStr::from_bytes(&spooler[..end]));
        let is = |taking: &&Arc<Taking>| {
            let canonical = taking.spool.priority.is_none().then(|| taking.spool.spool.path());
            taking.spool.path == wanted || canonical == Some(wanted)
        };
        if let Some(found) = self.all.iter().find(is) {
            return Ok(Arc::clone(found));
        }
        let relative = wanted.strip_prefix(".").unwrap_or(wanted);
        let mut ends = self
            .all
            .iter()
            .filter(|taking| relative.is_relative() && taking.spool.path.ends_with(relative));
        match (ends.next(), ends.next()) {
            (Some(found), None) => Ok(Arc::clone(found)),
            _ => Err(NoSpool::Unknown(printable(spooler))),
        }
    }

    /// Stores what receivers that died have left; returns what failed. Uses the file system.
    pub(super) fn settle(&self) -> Vec<SpoolsError> {
        let settle = |taking: &Arc<Taking>| {
            let settled = match taking.reception.get() {
                // To open it settles too.
                None => taking.reception().map(drop),
                Some(reception) => reception.settle(),
            };
            let spool = || taking.spool.spool.path().to_owned();
            settled.err().map(|source| SpoolsError { spool: spool(), source })
        };
        // One that fails holds up no other.
        self.all.iter().filter_map(settle).collect()
    }
}

impl Taking {
    /// What receives tasks of our own protocol. Uses the file system.
    pub(super) fn reception(&self) -> io::Result<Arc<Reception>> {
        if let Some(reception) = self.reception.get() {
            return Ok(Arc::clone(reception));
        }
        let opened = Arc::new(Reception::open(Arc::clone(&self.spool.spool))?);
        Ok(Arc::clone(self.reception.get_or_init(|| opened)))
    }

    /// That of tasks which name none.
    pub(super) fn priority(&self) -> Option<&[u8]> {
        self.spool.priority.as_deref()
    }

    /// Submits a task that came as a uwsgi packet. Uses the file system.
    pub(super) fn submit(&self, mut message: Message) -> Result<Submitted, SubmitError> {
        if let Some(priority) = &self.spool.priority
            && message.get(KEY_PRIORITY).is_none_or(<[u8]>::is_empty)
        {
            message.pairs.push((KEY_PRIORITY.to_vec(), priority.clone()));
        }
        submit_measured(&self.spool.spool, &message, self.spool.durability)
    }
}

#[cfg(test)]
mod tests {
    use unspool_core::taskfile::{TaskId, encode};

    use super::*;

    fn spool(path: &Path) -> NetworkSpool {
        let spool = Arc::new(SpoolDir::open(path).unwrap());
        NetworkSpool { path: path.to_owned(), priority: None, spool, durability: Durability::Group }
    }

    #[test]
    fn a_spool_that_cannot_be_settled_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let spools = Spools::new(vec![spool(&first), spool(&second)]);
        std::fs::remove_dir_all(&first).unwrap();
        // Whole, and its receiver died.
        let message = Message { pairs: vec![(b"a".to_vec(), b"b".to_vec())], ..Message::default() };
        let id = TaskId::new(1_795_000_000_000, [0; 10]);
        let name = format!("uwsgi_spoolfile_on_{id}_0_0_0_1795000000_0");
        let incoming = second.join(".unspool/incoming");
        std::fs::create_dir(&incoming).unwrap();
        let file = encode(&message, id, None).unwrap();
        unspool_sys::files::replace(&incoming.join(&name), &file).unwrap();
        let failed = spools.settle();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].to_string().contains(&*first.to_string_lossy()), "{}", failed[0]);
        assert!(second.join(name).exists());
    }
}
