//! Running slots: memory that the daemon and its workers share, one page a worker.
//!
//! A slot tells who owns a task that was handed to a worker. Both sides change its state with one
//! compare-and-swap, so that a task which is taken back is never started and the reverse. The memory
//! has no name: what must outlive all of these processes is noted elsewhere.
#![expect(unsafe_code, reason = "the promise that a row is nothing but atomics")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::rows::{Row, Rows};

/// Slots of one worker: one page.
pub const SLOTS_PER_WORKER: usize = 64;

/// Who owns a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// No task.
    Free = 0,
    /// Handed to the worker, not started: the dispatcher may take it back.
    Handed = 1,
    /// The worker runs it.
    Running = 2,
    /// The worker applied its outcome.
    Done = 3,
    /// Taken back: the worker must not start it.
    Revoked = 4,
}

impl SlotState {
    fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Handed,
            2 => Self::Running,
            3 => Self::Done,
            4 => Self::Revoked,
            _ => Self::Free,
        }
    }
}

/// A task as its slot names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandedTask {
    /// Its file.
    pub inode: u64,
    /// When the file had last changed as it was claimed: while it runs, nothing changes it.
    pub ctime_ns: i64,
    /// Milliseconds that it may run; 0: no limit of its own.
    pub limit_ms: u64,
}

/// One slot in the shared memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Slot {
    state: AtomicU32,
    /// Why the worker could not note elsewhere that it runs the task; 0: it could.
    unnoted: AtomicU32,
    inode: AtomicU64,
    handed_ns: AtomicU64,
    started_ns: AtomicU64,
    /// When the file had last changed as it was claimed.
    ctime_ns: AtomicI64,
    /// Milliseconds that the task may run; 0: no limit of its own.
    limit_ms: AtomicU64,
    /// Whether the task is to end, since somebody cancelled it.
    cancelled: AtomicU32,
}

impl Slot {
    /// Who owns the task.
    pub fn state(&self) -> SlotState {
        SlotState::from_raw(self.state.load(Ordering::Acquire))
    }

    /// The file's inode and, on the monotonic clock, when it was started (0: not yet).
    pub fn task(&self) -> (u64, u64) {
        (self.inode.load(Ordering::Acquire), self.started_ns.load(Ordering::Acquire))
    }

    /// Since when a task runs, on the monotonic clock; `None` if none does. Whoever reads is not
    /// the owner: what it says was so at some moment of the call.
    pub fn running_since(&self) -> Option<u64> {
        let running = || {
            let started_ns = self.started_ns.load(Ordering::Acquire);
            (self.state() == SlotState::Running && started_ns != 0).then_some(started_ns)
        };
        // The slot may be used for another task between the two loads; then they differ.
        let first = running()?;
        (running() == Some(first)).then_some(first)
    }

    /// The task that it names, whatever its state.
    pub fn named(&self) -> HandedTask {
        HandedTask {
            inode: self.inode.load(Ordering::Acquire),
            ctime_ns: self.ctime_ns.load(Ordering::Acquire),
            limit_ms: self.limit_ms.load(Ordering::Acquire),
        }
    }

    /// Dispatcher: the task that runs is to end.
    pub fn cancel(&self) {
        self.cancelled.store(1, Ordering::Release);
    }

    /// Whether the task that runs is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) != 0
    }

    /// Worker: it could not note elsewhere that it runs the task.
    pub fn cannot_note(&self, errno: i32) {
        self.unnoted.store(errno.unsigned_abs(), Ordering::Release);
    }

    /// Dispatcher: the number of the error with which the worker could not note that it runs the task.
    pub fn unnoted(&self) -> Option<i32> {
        Some(self.unnoted.load(Ordering::Acquire)).filter(|errno| *errno != 0)?.try_into().ok()
    }

    /// Dispatcher: puts a task into a free slot.
    pub fn hand(&self, task: HandedTask, now_ns: u64) {
        self.inode.store(task.inode, Ordering::Release);
        self.ctime_ns.store(task.ctime_ns, Ordering::Release);
        self.limit_ms.store(task.limit_ms, Ordering::Release);
        self.cancelled.store(0, Ordering::Release);
        self.unnoted.store(0, Ordering::Release);
        self.handed_ns.store(now_ns, Ordering::Release);
        self.started_ns.store(0, Ordering::Release);
        self.state.store(SlotState::Handed as u32, Ordering::Release);
    }

    /// Dispatcher: takes a task back. `false` if the worker has started it.
    pub fn revoke(&self) -> bool {
        self.exchange(SlotState::Handed, SlotState::Revoked)
    }

    /// Worker: starts a task. `false` if it was taken back.
    pub fn start(&self, now_ns: u64) -> bool {
        self.started_ns.store(now_ns, Ordering::Release);
        self.exchange(SlotState::Handed, SlotState::Running)
    }

    /// Worker: the outcome is applied, or will be by the dispatcher.
    pub fn done(&self) {
        self.state.store(SlotState::Done as u32, Ordering::Release);
    }

    /// Dispatcher: the slot can be used again.
    pub fn free(&self) {
        self.state.store(SlotState::Free as u32, Ordering::Release);
    }

    fn exchange(&self, from: SlotState, to: SlotState) -> bool {
        self.state
            .compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// The slots of one worker.
type Page = [Slot; SLOTS_PER_WORKER];

// SAFETY: nothing but atomics.
unsafe impl Row for Page {}

/// Slots of workers, mapped.
#[derive(Debug)]
pub struct SlotTable(Rows<Page>);

impl SlotTable {
    /// Makes slots for so many workers.
    pub fn new(workers: usize) -> io::Result<Self> {
        Rows::anonymous(c"unspool-slots", workers).map(Self)
    }

    /// Maps the slots of another process.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        Rows::map(fd).map(Self)
    }

    /// Workers that the table has room for.
    pub fn workers(&self) -> usize {
        self.0.count()
    }

    /// The memory, to hand it to a worker.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.file()
    }

    /// The slots of a worker; `None` beyond the table.
    pub fn row(&self, worker: usize) -> Option<&[Slot]> {
        self.0.get(worker).map(Page::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_started_or_taken_back_never_both() {
        let table = SlotTable::new(2).unwrap();
        assert_eq!(size_of::<Page>(), 4096);
        let slot = &table.row(1).unwrap()[3];
        for _ in 0..200 {
            slot.hand(HandedTask { inode: 7, ..HandedTask::default() }, 1);
            let (started, revoked) = std::thread::scope(|scope| {
                let start = scope.spawn(|| slot.start(2));
                let revoke = scope.spawn(|| slot.revoke());
                (start.join().unwrap(), revoke.join().unwrap())
            });
            assert!(started != revoked);
            slot.free();
        }
        assert!(table.row(2).is_none());
    }

    #[test]
    fn a_cancellation_is_for_one_task() {
        let table = SlotTable::new(1).unwrap();
        let slot = &table.row(0).unwrap()[0];
        let task = HandedTask { inode: 7, ..HandedTask::default() };
        slot.hand(task, 1);
        assert!(slot.start(5) && !slot.is_cancelled());
        slot.cancel();
        let other = SlotTable::open(table.file().try_clone_to_owned().unwrap()).unwrap();
        assert!(other.row(0).unwrap()[0].is_cancelled());
        slot.done();
        assert!(slot.is_cancelled());
        slot.free();
        slot.hand(task, 6);
        assert!(!slot.is_cancelled());
    }

    #[test]
    fn what_could_not_be_noted_is_of_one_task() {
        let table = SlotTable::new(1).unwrap();
        let slot = &table.row(0).unwrap()[0];
        slot.hand(HandedTask::default(), 1);
        assert_eq!(slot.unnoted(), None);
        slot.cannot_note(28);
        assert_eq!(slot.unnoted(), Some(28));
        slot.hand(HandedTask::default(), 1);
        assert_eq!(slot.unnoted(), None);
    }

    #[test]
    fn a_second_mapping_sees_the_same_slots() {
        let table = SlotTable::new(1).unwrap();
        let task = HandedTask { inode: 42, ctime_ns: -5, limit_ms: 9 };
        table.row(0).unwrap()[0].hand(task, 1);
        let other = SlotTable::open(table.file().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(other.row(0).unwrap()[0].named(), task);
        assert!(other.row(0).unwrap()[0].start(5));
        assert_eq!(table.row(0).unwrap()[0].state(), SlotState::Running);
    }
}
