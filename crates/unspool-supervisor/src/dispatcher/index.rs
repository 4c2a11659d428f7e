//! The index: what the dispatcher knows of the tasks in its spool, and which one is next.
//!
//! Names, due times, lengths and order only; no file is open here and none is touched. A task costs about
//! 140 bytes, so that a million delayed ones fit. Only what happens once in a scan or a reload is
//! linear in their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use unspool_core::Priority;
use unspool_spool::{PREFIX, Pending};

use crate::explanation::PutOff;
use crate::snapshot::Depth;

mod evict;
mod kept;
mod lanes;
mod pause;
mod place;

pub(super) use self::evict::{Evicted, Stay};

/// A task in the index. Valid until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TaskKey(u32);

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Due, waiting for a worker.
    Ready,
    /// Not due before its time.
    Delayed,
    /// Claimed by this dispatcher.
    Out,
    /// An old one of uWSGI's: waits until somebody decides about it.
    Kept,
    /// Due, and its function is paused.
    Paused,
}

#[derive(Debug)]
struct Entry {
    /// Without [`PREFIX`], which all names share.
    name: Box<[u8]>,
    lane: u32,
    /// Moves with every change of place, so that heap items of earlier places are recognised.
    place: u32,
    seen: u32,
    /// Index of its function plus one; 0 while unknown.
    function: u32,
    /// Of its file.
    bytes: u32,
    /// How often in a row it could not be opened.
    unopened: u8,
    state: State,
    /// Why it is put off; until it leaves its place.
    put_off: PutOff,
    due_ns: i64,
    submitted_ns: i64,
    /// Set while the due time is ours and not the file's: the file's change time at that moment.
    held_ctime_ns: i64,
    /// The due time stands in the file, and is the end of a wait that began here.
    waits: bool,
}

/// Items of earlier places that may lie in a heap, beside as many as there are tasks.
const STALE_MAX: usize = 4096;

type Item = Reverse<(i64, u32, u32)>;

/// The tasks of one folder.
#[derive(Debug)]
struct Lane {
    priority: Option<Priority>,
    ready: BinaryHeap<Item>,
    depth: Depth,
    /// Its folder is gone and no task is in it.
    retired: bool,
    /// None of its tasks is next.
    paused: bool,
}

impl Lane {
    /// Where its tasks stand, as it is told: what would be due is paused with its folder.
    fn depth(&self) -> Depth {
        let Depth { due, paused, .. } = self.depth;
        if self.paused { Depth { due: 0, paused: paused + due, ..self.depth } } else { self.depth }
    }
}

/// All tasks that the dispatcher knows.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    delayed: BinaryHeap<Item>,
    lanes: Vec<Lane>,
    /// Lanes in the order in which they are served.
    order: Vec<u32>,
    ready: usize,
    kept: usize,
    bytes: u64,
    places: u32,
    /// Tasks that were taken out or are gone, but for evicted ones.
    turnover: u64,
}

/// What a look at a file told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// When the task is due.
    pub(super) due_ns: i64,
    /// When the file last changed.
    pub(super) ctime_ns: i64,
    /// When the task was submitted.
    pub(super) submitted_ns: i64,
    /// Length of the file.
    pub(super) bytes: u64,
}

/// A task of the state [`State::Kept`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) key: TaskKey,
    pub(super) lane: u32,
    pub(super) function: u32,
    pub(super) due_ns: i64,
}

impl Index {
    /// Tasks known, and those of them that are due and wait for a worker.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_name.len(), self.ready)
    }

    /// All tasks known, and a number that changes with every change of them.
    pub(super) fn pending(&self) -> (Pending, u32) {
        (Pending { tasks: self.by_name.len() as u64, bytes: self.bytes }, self.places)
    }

    /// Since when the first task of a folder has been due: of all folders, the earliest.
    pub(super) fn oldest_due(&mut self) -> Option<i64> {
        let heads = (0..self.lanes.len()).filter_map(|lane| {
            let key = self.best_in(lane as u32)?;
            self.entry(key).map(|entry| entry.due_ns)
        });
        heads.min()
    }

    /// Takes in what a look at a file told. A task that is out, or that is held and whose file has
    /// not changed since, stays as it is. What was due when its file last changed is due. Returns
    /// whether it is new.
    pub(super) fn see(
        &mut self,
        lane: u32,
        name: &[u8],
        seen: Seen,
        epoch: u32,
        now_ns: i64,
    ) -> bool {
        let now_ns = now_ns.max(seen.ctime_ns);
        let Some(key) = self.find(lane, name) else {
            let key = self.insert(lane, name, seen, epoch);
            self.place(key, seen.due_ns, now_ns);
            return true;
        };
        let Some(entry) = self.entry_mut(key) else { return false };
        entry.seen = epoch;
        let (was, is) = (entry.bytes, file_bytes(seen.bytes));
        entry.bytes = is;
        let held = entry.held_ctime_ns == seen.ctime_ns;
        let moved = entry.due_ns != seen.due_ns || entry.state == State::Kept;
        let held = held && entry.state != State::Kept;
        let stays = entry.state == State::Out || held || (!moved && entry.held_ctime_ns == 0);
        let put_off = entry.state == State::Ready && seen.due_ns > now_ns;
        if !stays {
            (entry.held_ctime_ns, entry.waits) = (0, false);
        }
        self.bytes = self.bytes + u64::from(is) - u64::from(was);
        if !stays {
            // One that was left out may be next now.
            self.turnover += u64::from(put_off);
            self.place(key, seen.due_ns, now_ns);
        }
        false
    }

    /// Moves what is due by now to its lane.
    pub(super) fn promote(&mut self, now_ns: i64) {
        while let Some(Reverse((due_ns, id, place))) = self.delayed.peek().copied() {
            let current = self.is_current(id, place);
            if current && due_ns > now_ns {
                return;
            }
            self.delayed.pop();
            if current {
                self.make_ready(TaskKey(id));
            }
        }
    }

    /// When the next delayed task is due.
    pub(super) fn next_due(&mut self) -> Option<i64> {
        while let Some(Reverse((due_ns, id, place))) = self.delayed.peek().copied() {
            if self.is_current(id, place) {
                return Some(due_ns);
            }
            self.delayed.pop();
        }
        None
    }

    /// The task to run next, left where it is.
    pub(super) fn best(&mut self) -> Option<TaskKey> {
        if self.ready == 0 {
            return None;
        }
        for at in 0..self.order.len() {
            if let Some(key) = self.best_in(self.order[at]) {
                return Some(key);
            }
        }
        None
    }

    /// The task of a lane to run next, left where it is.
    pub(super) fn best_in(&mut self, lane: u32) -> Option<TaskKey> {
        if self.is_paused(lane) {
            return None;
        }
        while let Some(Reverse((_, id, place))) = self.lanes.get(lane as usize)?.ready.peek() {
            if self.is_current(*id, *place) {
                return Some(TaskKey(*id));
            }
            self.lanes[lane as usize].ready.pop();
        }
        None
    }

    /// A number that grows when there may be more room than before.
    pub(super) fn turnover(&self) -> u64 {
        self.turnover
    }

    /// Lanes in the order in which they are served.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    /// When a task was submitted.
    pub(super) fn submitted_ns(&self, key: TaskKey) -> Option<i64> {
        self.entry(key).map(|entry| entry.submitted_ns)
    }

    /// The lane of a task.
    pub(super) fn lane_of(&self, key: TaskKey) -> Option<u32> {
        self.entry(key).map(|entry| entry.lane)
    }

    /// Tasks of a lane that are due.
    pub(super) fn due_in(&self, lane: u32) -> usize {
        self.lanes.get(lane as usize).map_or(0, |lane| lane.depth.due as usize)
    }

    /// Whether `a` runs before `b`.
    pub(super) fn is_more_urgent(&self, a: TaskKey, b: TaskKey) -> bool {
        let rank = |key: TaskKey| {
            let entry = self.entry(key)?;
            let lane = self.order.iter().position(|lane| *lane == entry.lane)?;
            Some((lane, entry.submitted_ns))
        };
        matches!((rank(a), rank(b)), (Some(a), Some(b)) if a < b)
    }

    /// Takes a task out: it is claimed, or about to be.
    pub(super) fn take(&mut self, key: TaskKey) {
        self.turnover += 1;
        self.leave(key, State::Out);
    }

    /// Puts a task that was out back to the due ones.
    pub(super) fn put_back(&mut self, key: TaskKey) {
        if self.entry(key).is_some() {
            self.leave(key, State::Out);
            self.make_ready(key);
        }
    }

    /// Puts a task off. With `held_ctime_ns`, against what its file says, until that changes.
    pub(super) fn delay(&mut self, key: TaskKey, due_ns: i64, held_ctime_ns: Option<i64>) {
        self.leave(key, State::Out);
        if let Some(entry) = self.entry_mut(key) {
            entry.held_ctime_ns = held_ctime_ns.unwrap_or(0);
            entry.waits = false;
            self.place(key, due_ns, i64::MIN);
        }
    }

    /// Puts a task off for a while, which is noted in its file.
    pub(super) fn wait_until(&mut self, key: TaskKey, due_ns: i64) {
        self.delay(key, due_ns, None);
        if let Some(entry) = self.entry_mut(key) {
            entry.waits = true;
        }
    }

    /// The tasks that were put off for a while and have not run since, and until when.
    pub(super) fn waits(&self) -> Vec<(TaskKey, i64)> {
        let entries = (0..).zip(&self.entries);
        let waits = entries.filter_map(|(id, entry)| {
            let entry = entry.as_ref().filter(|entry| entry.waits)?;
            matches!(entry.state, State::Ready | State::Delayed)
                .then_some((TaskKey(id), entry.due_ns))
        });
        waits.collect()
    }

    /// The wait of a task ends at another time, as its file now says.
    pub(super) fn move_wait(&mut self, key: TaskKey, due_ns: i64, now_ns: i64) {
        self.place(key, due_ns, now_ns);
    }

    /// Forgets a task.
    pub(super) fn remove(&mut self, key: TaskKey) {
        self.turnover += 1;
        self.leave(key, State::Out);
        let Some(entry) = self.entries.get_mut(key.0 as usize).and_then(Option::take) else {
            return;
        };
        *self.depth_of(entry.lane, State::Out) -= 1;
        self.bytes -= u64::from(entry.bytes);
        let hash = hash(&self.hasher, entry.lane, &entry.name);
        if let Ok(found) = self.by_name.find_entry(hash, |id| *id == key.0) {
            found.remove();
        }
        self.free.push(key.0);
    }

    /// Forgets every task of a scanned folder that the scan did not meet and that is not out.
    pub(super) fn sweep(&mut self, epoch: u32) {
        let missed: Vec<u32> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(id, entry)| {
                let entry = entry.as_ref()?;
                // Tasks that appeared during the scan carry its epoch too.
                (entry.seen != epoch && entry.state != State::Out).then_some(id as u32)
            })
            .collect();
        for id in missed {
            self.remove(TaskKey(id));
        }
    }

    /// Forgets the tasks of a lane whose folder is gone, but for those that are out.
    pub(super) fn clear_lane(&mut self, lane: u32) {
        let gone: Vec<u32> = (0..self.entries.len() as u32)
            .filter(|id| {
                self.entry(TaskKey(*id))
                    .is_some_and(|entry| entry.lane == lane && entry.state != State::Out)
            })
            .collect();
        for id in gone {
            self.remove(TaskKey(id));
        }
    }

    /// Makes every task that is held against its file's due time due now: after a reload, which
    /// may have registered its function.
    pub(super) fn release_held(&mut self, now_ns: i64) {
        for id in 0..self.entries.len() as u32 {
            let held = self
                .entry(TaskKey(id))
                .is_some_and(|entry| entry.held_ctime_ns != 0 && entry.state == State::Delayed);
            if held {
                self.delay(TaskKey(id), now_ns, None);
            }
        }
    }

    /// Finds a task by its place and name.
    pub(super) fn find(&self, lane: u32, name: &[u8]) -> Option<TaskKey> {
        let short = name.strip_prefix(PREFIX)?;
        let hash = hash(&self.hasher, lane, short);
        self.by_name
            .find(hash, |id| {
                self.entry(TaskKey(*id)).is_some_and(|e| e.lane == lane && *e.name == *short)
            })
            .map(|id| TaskKey(*id))
    }

    /// The lane and the full name of a task.
    pub(super) fn name(&self, key: TaskKey) -> Option<(u32, Vec<u8>)> {
        self.entry(key).map(|entry| (entry.lane, [PREFIX, &entry.name].concat()))
    }

    /// Where a task stands.
    pub(super) fn state(&self, key: TaskKey) -> Option<State> {
        self.entry(key).map(|entry| entry.state)
    }

    /// The function of a task, if it was ever opened.
    pub(super) fn function(&self, key: TaskKey) -> Option<u32> {
        self.entry(key).and_then(|entry| entry.function.checked_sub(1))
    }

    /// A task was opened: remembers its function.
    pub(super) fn opened(&mut self, key: TaskKey, function: u32) {
        if let Some(entry) = self.entry_mut(key) {
            (entry.function, entry.unopened) = (function + 1, 0);
        }
    }

    /// A task cannot be opened. From now on it comes after all that were there before, so that those
    /// which cannot be opened keep no others from their turn. Returns how often in a row that was so
    /// before.
    pub(super) fn cannot_open(&mut self, key: TaskKey, now_ns: i64) -> u8 {
        let Some(entry) = self.entry_mut(key) else { return 0 };
        let before = entry.unopened;
        entry.unopened = before.saturating_add(1);
        entry.submitted_ns = entry.submitted_ns.max(now_ns);
        before
    }

    fn insert(&mut self, lane: u32, name: &[u8], seen: Seen, epoch: u32) -> TaskKey {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        let entry = Entry {
            name: short.into(),
            lane,
            place: 0,
            seen: epoch,
            function: 0,
            bytes: file_bytes(seen.bytes),
            unopened: 0,
            state: State::Out,
            put_off: PutOff::No,
            due_ns: seen.due_ns,
            submitted_ns: seen.submitted_ns,
            held_ctime_ns: 0,
            waits: false,
        };
        *self.depth_of(lane, State::Out) += 1;
        self.bytes += u64::from(entry.bytes);
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            id
        } else {
            self.entries.push(Some(entry));
            self.entries.len() as u32 - 1
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let rehash =
            |id: &u32| entries[*id as usize].as_ref().map_or(0, |e| hash(hasher, e.lane, &e.name));
        self.by_name.insert_unique(hash(hasher, lane, short), id, rehash);
        TaskKey(id)
    }

    fn place(&mut self, key: TaskKey, due_ns: i64, now_ns: i64) {
        self.leave(key, State::Delayed);
        let place = self.next_place();
        let Some(entry) = self.entry_mut(key) else { return };
        entry.due_ns = due_ns;
        if due_ns <= now_ns {
            self.make_ready(key);
            return;
        }
        entry.place = place;
        self.delayed.push(Reverse((due_ns, key.0, place)));
        // A task that is put off again and again leaves an item each time.
        if self.delayed.len() > 2 * self.by_name.len() + STALE_MAX {
            let mut delayed = std::mem::take(&mut self.delayed);
            delayed.retain(|Reverse((_, id, place))| self.is_current(*id, *place));
            self.delayed = delayed;
        }
    }

    fn make_ready(&mut self, key: TaskKey) {
        let place = self.next_place();
        let Some(entry) = self.entry_mut(key) else { return };
        let was = std::mem::replace(&mut entry.state, State::Ready);
        (entry.place, entry.put_off) = (place, PutOff::No);
        let (lane, item) = (entry.lane, Reverse((entry.submitted_ns, key.0, place)));
        self.moved(lane, was, State::Ready);
        self.lanes[lane as usize].ready.push(item);
        self.ready += 1;
        // A task that is claimed and given back again and again leaves an item each time.
        if self.lanes[lane as usize].ready.len() > 2 * self.by_name.len() + STALE_MAX {
            let mut ready = std::mem::take(&mut self.lanes[lane as usize].ready);
            ready.retain(|Reverse((_, id, place))| self.is_current(*id, *place));
            self.lanes[lane as usize].ready = ready;
        }
    }

    /// Leaves the place where a task stands; its heap item there is now stale.
    fn leave(&mut self, key: TaskKey, to: State) {
        let place = self.next_place();
        let Some(entry) = self.entry_mut(key) else { return };
        let was = std::mem::replace(&mut entry.state, to);
        (entry.place, entry.put_off) = (place, PutOff::No);
        let lane = entry.lane;
        self.moved(lane, was, to);
        if was == State::Ready {
            self.ready -= 1;
        }
    }

    fn moved(&mut self, lane: u32, from: State, to: State) {
        self.kept -= usize::from(from == State::Kept);
        self.kept += usize::from(to == State::Kept);
        *self.depth_of(lane, from) -= 1;
        *self.depth_of(lane, to) += 1;
    }

    fn depth_of(&mut self, lane: u32, state: State) -> &mut u64 {
        let depth = &mut self.lanes[lane as usize].depth;
        match state {
            State::Ready => &mut depth.due,
            State::Delayed => &mut depth.delayed,
            State::Out => &mut depth.running,
            State::Kept => &mut depth.held,
            State::Paused => &mut depth.paused,
        }
    }

    fn next_place(&mut self) -> u32 {
        self.places = self.places.wrapping_add(1);
        self.places
    }

    fn is_current(&self, id: u32, place: u32) -> bool {
        self.entry(TaskKey(id)).is_some_and(|entry| entry.place == place)
    }

    fn entry(&self, key: TaskKey) -> Option<&Entry> {
        self.entries.get(key.0 as usize).and_then(Option::as_ref)
    }

    fn entry_mut(&mut self, key: TaskKey) -> Option<&mut Entry> {
        self.entries.get_mut(key.0 as usize).and_then(Option::as_mut)
    }
}

/// No task file is longer than 32 bits hold.
fn file_bytes(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn hash(hasher: &DefaultHashBuilder, lane: u32, name: &[u8]) -> u64 {
    hasher.hash_one((lane, name))
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests;
