//! A worker as its dispatcher sees it: a socket, and the tasks handed to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_core::Priority;
use unspool_core::limits::{AHEAD_NS_MAX, HANDED_MAX};
use unspool_spool::Claim;
use unspool_sys::socket;
use unspool_wire::task::{Handed, ToWorker};

use super::index::TaskKey;
use crate::events::WorkerId;

/// A task that is claimed.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: TaskKey,
    pub(super) claim: Claim,
    pub(super) function: u32,
    pub(super) expected_ns: u64,
}

/// A task that was handed to a worker.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    Handed {
        held: Held,
        at_ns: u64,
    },
    /// Taken back; the worker's report on it is still to come.
    Revoked,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Forked, not ready.
    Starting,
    /// Runs tasks.
    Ready,
    /// Finishes what it runs, then leaves.
    Leaving,
    /// Its socket is closed or its packets make no sense; its process has to end.
    Broken,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) row: usize,
    pub(super) generation: u32,
    pub(super) stage: Stage,
    pub(super) pid: u32,
    /// Whether it has finished a task.
    pub(super) useful: bool,
    /// Index of its pool, and whose tasks it runs (`None`: all).
    pub(super) pool: usize,
    pub(super) only: Option<Priority>,
    /// The worker in whose place it comes.
    pub(super) replaces: Option<WorkerId>,
    /// Tasks that it has run.
    pub(super) ran: u64,
    /// The supervisor knows that it has its last task.
    pub(super) told_worn: bool,
    /// Another one is ready to take its place: it leaves once it has run what it has.
    pub(super) replaced: bool,
    /// Handlers of signals that it was told to run and has not.
    pub(super) ticks: u32,
    /// Tasks that it ran, and for how long in all.
    pub(super) tasks: u64,
    pub(super) run_time_ns: u64,
    socket: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<u8>,
    expected_ns: u64,
    /// When it last began something or said something, on the monotonic clock.
    pub(super) progress_ns: u64,
    /// Folders whose descriptors it has.
    folders: Vec<bool>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, row: usize, generation: u32, socket: OwnedFd) -> Self {
        Self {
            id,
            row,
            generation,
            stage: Stage::Starting,
            pid: 0,
            useful: false,
            pool: 0,
            only: None,
            replaces: None,
            ran: 0,
            told_worn: false,
            replaced: false,
            ticks: 0,
            tasks: 0,
            run_time_ns: 0,
            socket,
            slots: (0..HANDED_MAX).map(|_| Slot::Free).collect(),
            // Low numbers first: they share the first cache lines of the page.
            free: (0..HANDED_MAX as u8).rev().collect(),
            expected_ns: 0,
            progress_ns: 0,
            folders: Vec::new(),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Tasks handed out and not reported.
    pub(super) fn outstanding(&self) -> usize {
        HANDED_MAX - self.free.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Ready && self.outstanding() == 0 && self.ticks == 0
    }

    /// Whether a task of that expected duration may wait in this worker behind others.
    pub(super) fn takes_ahead(&self, expected_ns: u64, now_ns: u64) -> bool {
        self.stage == Stage::Ready
            && self.ticks == 0
            && !self.free.is_empty()
            && self.expected_ns + expected_ns <= AHEAD_NS_MAX
            && now_ns.saturating_sub(self.progress_ns) <= AHEAD_NS_MAX
    }

    /// Nanoseconds of expected work that it has.
    pub(super) fn load_ns(&self) -> u64 {
        self.expected_ns
    }

    /// Takes a free slot for a task; gives the task back if there is none.
    pub(super) fn put(&mut self, held: Held, now_ns: u64) -> Result<u8, Box<Held>> {
        let Some(slot) = self.free.pop() else { return Err(Box::new(held)) };
        if self.outstanding() == 1 {
            self.progress_ns = now_ns;
        }
        self.expected_ns += held.expected_ns;
        self.slots[usize::from(slot)] = Slot::Handed { held, at_ns: now_ns };
        Ok(slot)
    }

    /// The worker is done with a slot. Returns its task, unless that was taken back before.
    pub(super) fn settle(&mut self, slot: u8) -> Option<Held> {
        let place = self.slots.get_mut(usize::from(slot))?;
        let old = std::mem::replace(place, Slot::Free);
        match old {
            Slot::Free => return None,
            Slot::Handed { .. } | Slot::Revoked => self.free.push(slot),
        }
        match old {
            Slot::Handed { held, .. } => {
                self.expected_ns = self.expected_ns.saturating_sub(held.expected_ns);
                Some(held)
            }
            _ => None,
        }
    }

    /// Takes a task back that the worker must not start any more, or has done. Its slot is not free
    /// before the worker has reported on it.
    pub(super) fn take_back(&mut self, slot: u8) -> Option<Held> {
        let place = self.slots.get_mut(usize::from(slot))?;
        if !matches!(place, Slot::Handed { .. }) {
            return None;
        }
        let Slot::Handed { held, .. } = std::mem::replace(place, Slot::Revoked) else {
            return None;
        };
        self.expected_ns = self.expected_ns.saturating_sub(held.expected_ns);
        Some(held)
    }

    /// The slots with tasks, and when those were handed out.
    pub(super) fn handed(&self) -> impl Iterator<Item = (u8, &Held, u64)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| match place {
            Slot::Handed { held, at_ns } => Some((slot as u8, held, *at_ns)),
            _ => None,
        })
    }

    /// All slots that are not free.
    pub(super) fn used(&self) -> Vec<u8> {
        (0..HANDED_MAX as u8)
            .filter(|slot| !matches!(self.slots[usize::from(*slot)], Slot::Free))
            .collect()
    }

    /// Sends a packet. `false` means that the worker cannot take it: its buffer has room for all
    /// that a worker may have at once, so one that is full is broken.
    pub(super) fn send(&self, packet: &ToWorker, fds: &[BorrowedFd<'_>]) -> bool {
        let mut bytes = Vec::with_capacity(256);
        packet.encode(&mut bytes);
        socket::send(self.socket(), &bytes, fds).unwrap_or(false)
    }

    /// Sends the tasks in these slots.
    pub(super) fn send_tasks(&self, slots: &[u8], names: Vec<Handed>) -> bool {
        let fds: Vec<BorrowedFd<'_>> = slots
            .iter()
            .filter_map(|slot| match &self.slots[usize::from(*slot)] {
                Slot::Handed { held, .. } => Some(held.claim.file.as_fd()),
                _ => None,
            })
            .collect();
        fds.len() == names.len() && self.send(&ToWorker::Tasks(names), &fds)
    }

    /// The folder is another one now: the worker needs its descriptor again.
    pub(super) fn forget_folder(&mut self, folder: u32) {
        if let Some(known) = self.folders.get_mut(folder as usize) {
            *known = false;
        }
    }

    /// Whether the worker still needs the descriptor of a folder; it is taken as sent.
    pub(super) fn needs_folder(&mut self, folder: u32) -> bool {
        let index = folder as usize;
        if self.folders.len() <= index {
            self.folders.resize(index + 1, false);
        }
        !std::mem::replace(&mut self.folders[index], true)
    }
}
