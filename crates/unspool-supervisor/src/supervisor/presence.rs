//! That a daemon runs a spool: its folder there, what producers find it by, and whether it may run the
//! spool at all where other machines reach it too. The files are `unspool-spool`'s.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::warn;
use unspool_spool::{
    OtherHost, SpoolDir, Trace, daemon_of_another_host, listen_control, say_present,
};
use unspool_sys::space::Network;

/// Who else may reach the spool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hosts {
    /// The file system that it shares with other machines.
    network: Option<Network>,
    /// Daemons of those may run it too.
    shared: bool,
}

impl Hosts {
    pub(super) fn of(dir: &SpoolDir, shared: bool) -> Self {
        Self { network: dir.network(), shared }
    }

    /// An error if a daemon of another machine runs the spool and that is not meant so.
    pub(super) fn check(&self, dir: &SpoolDir) -> io::Result<()> {
        match self.network {
            Some(network) if !self.shared => refuse_other_hosts(dir, network),
            _ => Ok(()),
        }
    }
}

/// What a daemon has in the spool that it runs.
#[derive(Debug)]
pub(super) struct Presence {
    trace: Option<Trace>,
    /// Tells producers which process runs the spool, while it is open.
    present: Option<OwnedFd>,
    /// Where processes that are not the daemon's ask for something.
    control: Option<OwnedFd>,
}

impl Presence {
    pub(super) fn make(dir: &SpoolDir, rows: usize, hosts: &Hosts) -> io::Result<Self> {
        let trace = make_trace(dir, rows, hosts.network)?;
        let present = trace.as_ref().and_then(|trace| {
            say_present(trace.folder())
                .inspect_err(|error| warn!(%error, "producers will not find this daemon's process"))
                .ok()
        });
        let control = trace.as_ref().and_then(|trace| {
            listen_control(trace.folder())
                .inspect_err(|error| warn!(%error, "other processes cannot talk to this daemon"))
                .ok()
        });
        let mut made = Self { trace, present, control };
        // Two that start at once: each has said that it is there, and at least one sees the other.
        hosts.check(dir).inspect_err(|_| made.end())?;
        Ok(made)
    }

    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    pub(super) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// Removes what the daemon left in the spool.
    pub(super) fn end(&mut self) {
        self.present = None;
        self.control = None;
        if let Some(trace) = self.trace.take() {
            // What stays is removed by the next start.
            let _ = trace.remove();
        }
    }
}

/// One daemon's locks may not be seen by another machine's, and then both run the same tasks.
fn refuse_other_hosts(dir: &SpoolDir, network: Network) -> io::Result<()> {
    let Some(other) = daemon_of_another_host(dir, network.locks_are_shared)? else { return Ok(()) };
    let OtherHost { host, pid, folder } = other;
    let lives = if network.locks_are_shared {
        format!("a daemon of the host `{host}` runs it (process {pid} there)")
    } else {
        format!(
            "a daemon of the host `{host}` runs it, or has died without a word (process {pid} there; if it \
             has, remove `{}`)",
            folder.display()
        )
    };
    Err(io::Error::other(format!(
        "it is on {}, and {lives}. Two machines run one spool safely only if each sees the locks of the \
         other. Let one machine run it, and have the others submit there or relay to it with \
         `spooler = relay:HOST:PORT`; or say that both shall with `spooler-shared-hosts = true`",
        network.name
    )))
}

/// What a file system says that has no locks: `ENOLCK`, `ENOSYS`, `EOPNOTSUPP`.
const NO_LOCKS: [i32; 3] = [37, 38, 95];

fn no_locks(why: &str, network: Option<Network>) -> io::Error {
    let name = network.map_or_else(String::new, |network| format!(" ({})", network.name));
    io::Error::other(format!(
        "the locks of its file system{name} do not work: {why}. Without them a task would run more than \
         once. Mount it with locks (NFS without `nolock` and with its lock service, Lustre with `flock`, \
         SMB without `nobrl`), or put the spool on a local disk"
    ))
}

/// Makes the daemon's folder. Without one nobody will know what ran, should all die.
fn make_trace(dir: &SpoolDir, rows: usize, network: Option<Network>) -> io::Result<Option<Trace>> {
    let made = Trace::make(dir, rows);
    if let Err(error) = &made
        && error.raw_os_error().is_some_and(|errno| NO_LOCKS.contains(&errno))
    {
        return Err(no_locks(&error.to_string(), network));
    }
    if let (Ok((trace, _)), Some(_)) = (&made, network)
        && trace.locks_exclude().is_ok_and(|exclude| !exclude)
    {
        return Err(no_locks("one that is held keeps nobody out", network));
    }
    Ok(trace_of(made, dir))
}

fn trace_of(made: io::Result<(Trace, Option<io::Error>)>, dir: &SpoolDir) -> Option<Trace> {
    let spool = dir.path().display();
    match made {
        Ok((trace, error)) => {
            if let Some(error) = error {
                let path = trace.notes_path().display();
                warn!(
                    %spool, %path, %error,
                    "no room for notes of what runs: should this daemon and its workers be killed \
                     together, what ran then may not count as an attempt; free some room"
                );
            }
            Some(trace)
        }
        Err(error) => {
            warn!(
                %spool, %error,
                "cannot make a folder in the spool for this daemon: the command line will not find it, \
                 and should it and its workers be killed together, what ran then does not count as an \
                 attempt; mend that, and start it again"
            );
            None
        }
    }
}
