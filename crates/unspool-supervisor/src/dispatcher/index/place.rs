//! What is told of single tasks to those who ask: when they are due, why they are put off, and their place
//! among the due ones, in the order in which they are served.

use std::cmp::Reverse;

use super::{Index, State, TaskKey};
use crate::explanation::{Position, PutOff};

/// Items that are looked up one by one to tell tasks from places that they have left. Each look-up is a
/// miss of the cache: these take some milliseconds.
const LOOK_UPS_MAX: usize = 50_000;

impl Index {
    /// When a task is due.
    pub(in super::super) fn due_ns(&self, key: TaskKey) -> Option<i64> {
        self.entry(key).map(|entry| entry.due_ns)
    }

    /// Why a task is put off against what its file says.
    pub(in super::super) fn put_off(&self, key: TaskKey) -> PutOff {
        self.entry(key).map_or(PutOff::No, |entry| entry.put_off)
    }

    /// Notes why a task was just put off.
    pub(in super::super) fn note_put_off(&mut self, key: TaskKey, why: PutOff) {
        if let Some(entry) = self.entry_mut(key) {
            entry.put_off = why;
        }
    }

    /// Shows so many tasks, from a number on: the lane, the name without [`PREFIX`], and when it was
    /// submitted. Returns the number to go on with, if there are more.
    pub(in super::super) fn names(
        &self,
        from: usize,
        tasks: usize,
        mut each: impl FnMut(u32, &[u8], i64),
    ) -> Option<usize> {
        for entry in self.entries.iter().skip(from).take(tasks).flatten() {
            each(entry.lane, &entry.name, entry.submitted_ns);
        }
        let next = from + tasks;
        (next < self.entries.len()).then_some(next)
    }

    /// How many tasks are served before a due one. Looks at its folder's items once, without sorting
    /// them: some milliseconds for a million.
    pub(in super::super) fn position(&mut self, key: TaskKey) -> Option<Position> {
        let lane = self.lane_of(key).filter(|_| self.state(key) == Some(State::Ready))?;
        // What lies on top and is stale goes: mostly nothing else is.
        self.best_in(lane);
        let own = (self.submitted_ns(key)?, key.0);
        let before_lane =
            self.order.iter().take_while(|other| **other != lane).map(|other| self.due_in(*other));
        let before_lane: usize = before_lane.sum();
        let heap = &self.lanes.get(lane as usize)?.ready;
        let mut stale = heap.len().saturating_sub(self.due_in(lane));
        let (mut before, mut look_ups) = (0u64, 0);
        for Reverse((submitted_ns, id, place)) in heap {
            if (*submitted_ns, *id) >= own {
                continue;
            }
            if stale > 0 && look_ups < LOOK_UPS_MAX {
                look_ups += 1;
                if !self.is_current(*id, *place) {
                    stale -= 1;
                    continue;
                }
            }
            before += 1;
        }
        let exact = stale == 0 || look_ups < LOOK_UPS_MAX;
        Some(Position { before: before_lane as u64 + before, before_in_folder: before, exact })
    }
}

#[cfg(test)]
mod tests {
    use unspool_core::Priority;
    use unspool_spool::PREFIX;

    use super::super::Seen;
    use super::*;

    #[test]
    fn a_place_counts_what_is_served_before() {
        let mut index = Index::default();
        let (top, five) = (index.lane(None), index.lane(Some(&Priority::new(b"5").unwrap())));
        let add = |index: &mut Index, lane, submitted_ns: i64, due_ns| {
            let name = [PREFIX, format!("{submitted_ns}").as_bytes()].concat();
            index.see(lane, &name, Seen { due_ns, ctime_ns: 1, submitted_ns, bytes: 1 }, 1, 100);
            index.find(lane, &name).unwrap()
        };
        let top_tasks: Vec<TaskKey> = (0..9).map(|n| add(&mut index, top, 8 - n, 0)).collect();
        let of_five: Vec<TaskKey> = (20..23).map(|n| add(&mut index, five, n, 0)).collect();
        let later = add(&mut index, top, 50, 1000);
        let place = |index: &mut Index, key| index.position(key).map(|p| (p.before, p.exact));
        assert_eq!(place(&mut index, top_tasks[0]), Some((11, true)));
        assert_eq!(place(&mut index, of_five[0]), Some((0, true)));
        assert_eq!(place(&mut index, later), None);
        // Places that tasks have left do not count.
        index.take(top_tasks[8]);
        index.take(top_tasks[4]);
        index.take(of_five[1]);
        index.put_back(top_tasks[4]);
        index.remove(top_tasks[2]);
        assert_eq!(place(&mut index, top_tasks[0]), Some((8, true)));
        assert_eq!(index.position(top_tasks[0]).unwrap().before_in_folder, 6);
    }
}
