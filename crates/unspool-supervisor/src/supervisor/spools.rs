//! A spool as the supervisor sees it: a thread to talk to, rows of slots to give out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tracing::warn;
use unspool_spool::{
    OtherHost, SpoolDir, Trace, daemon_of_another_host, listen_control, say_present,
};
use unspool_sys::folder::Folder;
use unspool_sys::poll::Waker;
use unspool_sys::slots::SlotTable;
use unspool_sys::space::Network;
use unspool_sys::tail::TailTable;

use super::limits::Patrol;
use super::pools::{PoolState, pools_of};
use crate::backoff::Backoff;
use crate::dispatcher::{self, LostRuns, Notes, Outbox, Start, Wear, begin_adopting};
use crate::events::ToDispatcher;
use crate::settings::SpoolSettings;

/// Messages to a dispatcher that wait.
const INBOX_MESSAGES: usize = 4096;

/// A spool and its dispatcher.
#[derive(Debug)]
pub(super) struct SpoolActor {
    pub(super) path: PathBuf,
    /// The directory, for the workers.
    pub(super) folder: Folder,
    pub(super) slots: Arc<SlotTable>,
    /// The last that workers printed.
    pub(super) tails: Arc<TailTable>,
    pub(super) free_rows: Vec<usize>,
    /// How often the worker of a row ended and was replaced.
    pub(super) respawns: Vec<u32>,
    /// No row was free for a worker that it should have.
    pub(super) crowded: bool,
    /// Workers that it should have.
    pub(super) pools: Vec<PoolState>,
    pub(super) backoff: Backoff,
    /// No worker is started before this.
    pub(super) spawn_at_ns: Option<u64>,
    /// The generation whose workers alone get tasks; 0 before the first is there.
    pub(super) serving: u32,
    /// Its thread has ended, or is about to.
    pub(super) ended: bool,
    sender: SyncSender<ToDispatcher>,
    waker: Arc<Waker>,
    trace: Option<Trace>,
    /// Tells producers which process runs the spool, while it is open.
    present: Option<OwnedFd>,
    /// Where processes that are not the daemon's ask for something.
    control: Option<OwnedFd>,
}

impl SpoolActor {
    /// Makes the daemon's folder in the spool and starts the dispatcher's thread.
    pub(super) fn start(
        number: usize,
        settings: SpoolSettings,
        outbox: Outbox,
        patrol: &Patrol,
    ) -> io::Result<Self> {
        // Twice the workers, so that a reload can start all new ones before the old ones leave,
        // and some for old ones that take long.
        let limits = patrol.limits();
        let pools = pools_of(&settings);
        let rows = 4 * pools.iter().map(|pool| pool.target as usize).sum::<usize>() + 4;
        let network = settings.dir.network();
        if let (Some(network), false) = (network, settings.shared_hosts) {
            refuse_other_hosts(&settings.dir, network)?;
        }
        // Before anything of this daemon can run, and before it leaves any other trace.
        let adopting = begin_adopting(&settings).map_err(io::Error::other)?;
        let mut lost = LostRuns::collect(&settings.dir);
        let trace = make_trace(&settings.dir, rows, network)?;
        if let Some(trace) = &trace {
            lost.is_own(trace.name());
        }
        let slots = Arc::new(SlotTable::new(rows)?);
        let tails = Arc::new(TailTable::new(rows)?);
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
        // Two that start at once: each has said that it is there, and at least one sees the other.
        if let (Some(network), false) = (network, settings.shared_hosts)
            && let Err(error) = refuse_other_hosts(&settings.dir, network)
        {
            drop((present, control));
            let _ = trace.map(Trace::remove);
            return Err(error);
        }
        let notes = trace.as_ref().map(Notes::of);
        let waker = Arc::new(Waker::new()?);
        let (sender, inbox) = sync_channel(INBOX_MESSAGES);
        let actor = Self {
            path: settings.dir.path().to_owned(),
            folder: settings.dir.top().try_clone()?,
            slots: Arc::clone(&slots),
            tails: Arc::clone(&tails),
            free_rows: (0..rows).rev().collect(),
            respawns: vec![0; rows],
            crowded: false,
            pools: pools.iter().map(|pool| PoolState::new(pool, limits.cheap)).collect(),
            backoff: Backoff::default(),
            spawn_at_ns: None,
            serving: 0,
            ended: false,
            sender,
            waker: Arc::clone(&waker),
            trace,
            present,
            control,
        };
        let start = Start {
            number,
            dir: settings.dir,
            frequency: settings.frequency,
            retry: settings.retry,
            settle: settings.settle,
            tasks_max: settings.tasks_max,
            adopting,
            lost,
            quiet: settings.quiet,
            pools,
            wear: Wear { max_tasks: limits.max_tasks, signal_as_task: limits.signal_as_task },
            cheap: limits.cheap,
            slots,
            notes,
            tails,
            look_by: patrol.look_by(),
            inbox,
            waker,
            outbox,
        };
        std::thread::Builder::new()
            .name(format!("dispatcher-{number}"))
            .spawn(move || dispatcher::run(start))?;
        Ok(actor)
    }

    /// Sends a message. `false` if the thread is gone or does not read.
    pub(super) fn tell(&self, message: ToDispatcher) -> bool {
        let sent = self.sender.try_send(message).is_ok();
        self.waker.wake();
        sent
    }

    /// What each worker gets: slots, the directory, the memory of its output, and notes if there are any.
    pub(super) fn lent(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let notes = self.trace.as_ref().map(|trace| trace.notes().file());
        [self.slots.file(), self.folder.as_fd(), self.tails.file()].into_iter().chain(notes)
    }

    pub(super) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// Removes what the daemon left in the spool.
    pub(super) fn clean_up(&mut self) {
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
