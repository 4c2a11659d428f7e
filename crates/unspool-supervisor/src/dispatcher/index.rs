//! The index: what the dispatcher knows of the tasks in its spool, and which one is next.
//!
//! Names, due times and order only; no file is open here and none is touched. A task costs about
//! 140 bytes, so that a million delayed ones fit. Only what happens once in a scan or a reload is
//! linear in their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use unspool_core::Priority;
use unspool_spool::PREFIX;

use crate::snapshot::Depth;

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
    state: State,
    due_ns: i64,
    submitted_ns: i64,
    /// Set while the due time is ours and not the file's: the file's change time at that moment.
    held_ctime_ns: i64,
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
    places: u32,
}

/// What a look at a file told.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "the unit is part of every name")]
pub(super) struct Seen {
    /// When the task is due.
    pub(super) due_ns: i64,
    /// When the file last changed.
    pub(super) ctime_ns: i64,
    /// When the task was submitted.
    pub(super) submitted_ns: i64,
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
    /// The lane of a folder, made if it is new.
    pub(super) fn lane(&mut self, priority: Option<&Priority>) -> u32 {
        let is_it = |lane: &Lane| lane.priority.as_ref() == priority;
        if let Some(known) = self.lanes.iter().position(is_it) {
            self.lanes[known].retired = false;
            return known as u32;
        }
        let new = Lane {
            priority: priority.cloned(),
            ready: BinaryHeap::new(),
            depth: Depth::default(),
            retired: false,
        };
        let lane = if let Some(free) = self.lanes.iter().position(|lane| lane.retired) {
            self.lanes[free] = new;
            free
        } else {
            self.lanes.push(new);
            self.lanes.len() - 1
        };
        let mut order: Vec<u32> = (0..self.lanes.len() as u32).collect();
        // Priorities ascending; no priority comes last.
        order.sort_by(|a, b| {
            let (a, b) = (&self.lanes[*a as usize].priority, &self.lanes[*b as usize].priority);
            a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(b))
        });
        self.order = order;
        lane as u32
    }

    /// Lets a lane be used for another priority, if no task is in it.
    pub(super) fn retire_lane(&mut self, lane: u32) {
        let used = self.entries.iter().flatten().any(|entry| entry.lane == lane);
        if let Some(lane) =
            self.lanes.get_mut(lane as usize).filter(|lane| lane.priority.is_some() && !used)
        {
            lane.retired = true;
        }
    }

    /// The lane of a priority that has one.
    pub(super) fn known_lane(&self, priority: &Priority) -> Option<u32> {
        let known = |lane: &Lane| lane.priority.as_ref() == Some(priority) && !lane.retired;
        self.lanes.iter().position(known).map(|lane| lane as u32)
    }

    /// The priority of a lane.
    pub(super) fn priority(&self, lane: u32) -> Option<&Priority> {
        self.lanes.get(lane as usize).and_then(|lane| lane.priority.as_ref())
    }

    /// Lanes there are, those that wait for another priority included.
    pub(super) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// Lanes in use.
    pub(super) fn lanes_used(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.retired).count()
    }

    /// Tasks known, and those of them that are due and wait for a worker.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_name.len(), self.ready)
    }

    /// Where the tasks of each folder in use stand, in the order in which folders are served.
    pub(super) fn depths(&self) -> impl Iterator<Item = (Option<&Priority>, Depth)> {
        let lanes = self.order.iter().filter_map(|lane| self.lanes.get(*lane as usize));
        lanes.filter(|lane| !lane.retired).map(|lane| (lane.priority.as_ref(), lane.depth))
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
    /// not changed since, stays as it is.
    pub(super) fn see(&mut self, lane: u32, name: &[u8], seen: Seen, epoch: u32, now_ns: i64) {
        let Some(key) = self.find(lane, name) else {
            let key = self.insert(lane, name, seen, epoch);
            self.place(key, seen.due_ns, now_ns);
            return;
        };
        let Some(entry) = self.entry_mut(key) else { return };
        entry.seen = epoch;
        let held = entry.held_ctime_ns == seen.ctime_ns;
        let moved = entry.due_ns != seen.due_ns || entry.state == State::Kept;
        let held = held && entry.state != State::Kept;
        if entry.state == State::Out || held || (!moved && entry.held_ctime_ns == 0) {
            return;
        }
        entry.held_ctime_ns = 0;
        self.place(key, seen.due_ns, now_ns);
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
        while let Some(Reverse((_, id, place))) = self.lanes.get(lane as usize)?.ready.peek() {
            if self.is_current(*id, *place) {
                return Some(TaskKey(*id));
            }
            self.lanes[lane as usize].ready.pop();
        }
        None
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
            self.place(key, due_ns, i64::MIN);
        }
    }

    /// Forgets a task.
    pub(super) fn remove(&mut self, key: TaskKey) {
        self.leave(key, State::Out);
        let Some(entry) = self.entries.get_mut(key.0 as usize).and_then(Option::take) else {
            return;
        };
        *self.depth_of(entry.lane, State::Out) -= 1;
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

    /// Takes in an old task that waits until somebody decides about it.
    pub(super) fn keep(&mut self, lane: u32, name: &[u8], seen: Seen, epoch: u32, function: u32) {
        let known = self.find(lane, name);
        let key = known.unwrap_or_else(|| self.insert(lane, name, seen, epoch));
        self.leave(key, State::Kept);
        let Some(entry) = self.entry_mut(key) else { return };
        (entry.seen, entry.function, entry.due_ns) = (epoch, function + 1, seen.due_ns);
        entry.held_ctime_ns = seen.ctime_ns;
    }

    /// Notes that an old task was seen again. `false` if its file has changed.
    pub(super) fn is_kept_as(&mut self, lane: u32, name: &[u8], ctime_ns: i64, epoch: u32) -> bool {
        let Some(key) = self.find(lane, name) else { return false };
        let Some(entry) = self.entry_mut(key) else { return false };
        entry.seen = epoch;
        entry.held_ctime_ns == ctime_ns
    }

    /// The old tasks that wait until somebody decides.
    pub(super) fn kept(&self) -> impl Iterator<Item = Kept> {
        self.entries.iter().enumerate().filter_map(|(id, entry)| {
            let entry = entry.as_ref().filter(|entry| entry.state == State::Kept)?;
            let function = entry.function.wrapping_sub(1);
            let (lane, due_ns) = (entry.lane, entry.due_ns);
            Some(Kept { key: TaskKey(id as u32), lane, function, due_ns })
        })
    }

    /// Lets an old task run like any other.
    pub(super) fn release(&mut self, key: TaskKey, now_ns: i64) {
        let Some(entry) = self.entry_mut(key) else { return };
        entry.held_ctime_ns = 0;
        let due_ns = entry.due_ns;
        self.place(key, due_ns, now_ns);
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

    /// Remembers the function of a task.
    pub(super) fn set_function(&mut self, key: TaskKey, function: u32) {
        if let Some(entry) = self.entry_mut(key) {
            entry.function = function + 1;
        }
    }

    fn insert(&mut self, lane: u32, name: &[u8], seen: Seen, epoch: u32) -> TaskKey {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        let entry = Entry {
            name: short.into(),
            lane,
            place: 0,
            seen: epoch,
            function: 0,
            state: State::Out,
            due_ns: seen.due_ns,
            submitted_ns: seen.submitted_ns,
            held_ctime_ns: 0,
        };
        *self.depth_of(lane, State::Out) += 1;
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
        entry.place = place;
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
        entry.place = place;
        let lane = entry.lane;
        self.moved(lane, was, to);
        if was == State::Ready {
            self.ready -= 1;
        }
    }

    fn moved(&mut self, lane: u32, from: State, to: State) {
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

fn hash(hasher: &DefaultHashBuilder, lane: u32, name: &[u8]) -> u64 {
    hasher.hash_one((lane, name))
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<u8> {
        [PREFIX, text.as_bytes()].concat()
    }

    fn seen(due_ns: i64, submitted_ns: i64) -> Seen {
        Seen { due_ns, ctime_ns: 1, submitted_ns }
    }

    fn drain(index: &mut Index) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(key) = index.best() {
            let (_, name) = index.name(key).unwrap();
            names.push(String::from_utf8(name[PREFIX.len()..].to_vec()).unwrap());
            index.remove(key);
        }
        names
    }

    #[test]
    fn due_tasks_come_by_priority_then_by_submission() {
        let mut index = Index::default();
        let top = index.lane(None);
        let ten = index.lane(Some(&Priority::new(b"10").unwrap()));
        let five = index.lane(Some(&Priority::new(b"5").unwrap()));
        let mail = index.lane(Some(&Priority::new(b"mail").unwrap()));
        for (lane, text, submitted) in
            [(top, "t1", 1), (mail, "m", 2), (ten, "x", 3), (five, "b", 9), (five, "a", 8)]
        {
            index.see(lane, &name(text), seen(0, submitted), 1, 100);
        }
        assert_eq!(drain(&mut index), ["a", "b", "x", "m", "t1"]);
        assert_eq!(index.counts(), (0, 0));
    }

    #[test]
    fn a_delayed_task_waits_for_its_time_and_follows_its_file() {
        let mut index = Index::default();
        let top = index.lane(None);
        index.see(top, &name("a"), seen(500, 1), 1, 100);
        index.see(top, &name("b"), seen(300, 2), 1, 100);
        assert!(index.best().is_none());
        assert_eq!(index.next_due(), Some(300));
        // Touched: due earlier.
        index.see(top, &name("a"), Seen { due_ns: 200, ctime_ns: 2, submitted_ns: 1 }, 1, 100);
        assert_eq!(index.next_due(), Some(200));
        index.promote(250);
        assert_eq!(drain(&mut index), ["a"]);
        index.promote(300);
        assert_eq!(drain(&mut index), ["b"]);
        assert_eq!(index.next_due(), None);
    }

    #[test]
    fn a_held_task_waits_until_its_file_changes_or_a_reload() {
        let mut index = Index::default();
        let top = index.lane(None);
        index.see(top, &name("a"), seen(0, 1), 1, 100);
        let key = index.best().unwrap();
        index.take(key);
        index.delay(key, 1000, Some(1));
        // Closing our own descriptor raises an event, and the file is as it was.
        index.see(top, &name("a"), seen(0, 1), 1, 100);
        assert!(index.best().is_none());
        index.see(top, &name("a"), Seen { due_ns: 0, ctime_ns: 2, submitted_ns: 1 }, 1, 100);
        assert_eq!(index.best(), Some(key));
        index.take(key);
        index.delay(key, 1000, Some(2));
        index.release_held(100);
        index.promote(100);
        assert_eq!(index.best(), Some(key));
    }

    #[test]
    fn what_a_scan_does_not_meet_is_forgotten_unless_it_is_out() {
        let mut index = Index::default();
        let top = index.lane(None);
        for text in ["a", "b", "c"] {
            index.see(top, &name(text), seen(0, 1), 1, 100);
        }
        let out = index.find(top, &name("b")).unwrap();
        index.take(out);
        index.see(top, &name("c"), seen(0, 1), 2, 100);
        index.sweep(2);
        assert!(index.find(top, &name("a")).is_none());
        assert_eq!(index.state(out), Some(State::Out));
        assert_eq!(drain(&mut index), ["c"]);
        index.put_back(out);
        assert_eq!(drain(&mut index), ["b"]);
    }
}
