//! A spool as the supervisor sees it: a thread to talk to, rows of slots to give out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tracing::warn;
use unspool_spool::{SpoolDir, forget_present, listen_control, say_present};
use unspool_sys::folder::Folder;
use unspool_sys::poll::Waker;
use unspool_sys::slots::SlotTable;
use unspool_sys::tail::TailTable;
use unspool_sys::{host, lock};

use super::limits::Patrol;
use super::pools::{PoolState, pools_of};
use crate::backoff::Backoff;
use crate::dispatcher::{self, LostRuns, Outbox, SLOTS, Start, Wear, begin_adopting};
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
    daemon: Option<(Folder, Vec<u8>, Folder)>,
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
        // Before anything of this daemon can run, and before it leaves any other trace.
        let adopting = begin_adopting(&settings).map_err(io::Error::other)?;
        let lost = LostRuns::collect(&settings.dir);
        let (slots, daemon) = make_slots(&settings.dir, rows)?;
        let slots = Arc::new(slots);
        let tails = Arc::new(TailTable::new(rows)?);
        let present = daemon.as_ref().and_then(|(folder, ..)| {
            say_present(folder)
                .inspect_err(|error| warn!(%error, "producers will not find this daemon's process"))
                .ok()
        });
        let control = daemon.as_ref().and_then(|(folder, ..)| {
            listen_control(folder)
                .inspect_err(|error| warn!(%error, "other processes cannot talk to this daemon"))
                .ok()
        });
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
            daemon,
            present,
            control,
        };
        let start = Start {
            number,
            dir: settings.dir,
            frequency: settings.frequency,
            retry: settings.retry,
            settle: settings.settle,
            adopting,
            lost,
            quiet: settings.quiet,
            pools,
            wear: Wear { max_tasks: limits.max_tasks, signal_as_task: limits.signal_as_task },
            cheap: limits.cheap,
            slots,
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

    pub(super) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// Removes the daemon's folder in the spool.
    pub(super) fn clean_up(&mut self) {
        let Some((folder, name, daemons)) = self.daemon.take() else { return };
        self.present = None;
        self.control = None;
        let _ = forget_present(&folder);
        if folder.unlink(SLOTS).is_ok() {
            let _ = daemons.remove_sub(&name);
        }
    }
}

type DaemonFolder = Option<(Folder, Vec<u8>, Folder)>;

fn make_slots(dir: &SpoolDir, rows: usize) -> io::Result<(SlotTable, DaemonFolder)> {
    let name = {
        let random: [u8; 16] = host::random()?;
        format!("{:032x}", u128::from_le_bytes(random)).into_bytes()
    };
    let on_disk = (|| {
        let folder = dir.make_daemon_folder(&name)?;
        let file = folder.open_or_create(SLOTS)?;
        if !lock::try_lock(file.as_fd())? {
            return Err(io::Error::other("somebody holds the lock of a new slots file"));
        }
        let slots = SlotTable::create(file, rows)?;
        Ok((slots, Some((folder, name.clone(), dir.daemons_folder()?))))
    })();
    on_disk.or_else(|error: io::Error| {
        let spool = dir.path().display();
        warn!(%spool, %error, "no room for a slots file; running without one");
        Ok((SlotTable::anonymous(rows)?, None))
    })
}
