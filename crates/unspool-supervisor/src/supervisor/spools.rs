//! A spool as the supervisor sees it: a thread to talk to, rows of slots to give out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use unspool_sys::folder::Folder;
use unspool_sys::poll::Waker;
use unspool_sys::slots::SlotTable;
use unspool_sys::tail::TailTable;

use super::limits::Patrol;
use super::pools::{PoolState, pools_of};
use super::presence::{Hosts, Presence};
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
    /// No row is free for a worker that it should have: when that is told, or `u64::MAX` if it was.
    pub(super) crowded_ns: Option<u64>,
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
    presence: Presence,
}

impl SpoolActor {
    /// When it is told that old workers have all rows. Not while no worker may be started anyway.
    pub(super) fn next_tell_ns(&self) -> Option<u64> {
        self.crowded_ns.filter(|at_ns| *at_ns != u64::MAX && self.spawn_at_ns.is_none())
    }

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
        let hosts = Hosts::of(&settings.dir, settings.shared_hosts);
        hosts.check(&settings.dir)?;
        // Before anything of this daemon can run, and before it leaves any other trace.
        let adopting = begin_adopting(&settings).map_err(io::Error::other)?;
        let mut lost = LostRuns::collect(&settings.dir);
        let presence = Presence::make(&settings.dir, rows, &hosts)?;
        if let Some(trace) = presence.trace() {
            lost.is_own(trace.name());
        }
        let slots = Arc::new(SlotTable::new(rows)?);
        let tails = Arc::new(TailTable::new(rows)?);
        let notes = presence.trace().map(Notes::of);
        let waker = Arc::new(Waker::new()?);
        let (sender, inbox) = sync_channel(INBOX_MESSAGES);
        let actor = Self {
            path: settings.dir.path().to_owned(),
            folder: settings.dir.top().try_clone()?,
            slots: Arc::clone(&slots),
            tails: Arc::clone(&tails),
            free_rows: (0..rows).rev().collect(),
            respawns: vec![0; rows],
            crowded_ns: None,
            pools: pools.iter().map(|pool| PoolState::new(pool, limits.cheap)).collect(),
            backoff: Backoff::default(),
            spawn_at_ns: None,
            serving: 0,
            ended: false,
            sender,
            waker: Arc::clone(&waker),
            presence,
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
        let notes = self.presence.trace().map(|trace| trace.notes().file());
        [self.slots.file(), self.folder.as_fd(), self.tails.file()].into_iter().chain(notes)
    }

    pub(super) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.presence.control()
    }

    /// Removes what the daemon left in the spool.
    pub(super) fn clean_up(&mut self) {
        self.presence.end();
    }
}
