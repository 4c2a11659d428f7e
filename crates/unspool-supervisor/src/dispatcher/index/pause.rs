//! Tasks that are due and paused: they stay known, and none of them is next.

use unspool_core::Priority;

use super::{Index, State, TaskKey};

impl Index {
    /// Whether the tasks of a lane are paused.
    pub(in super::super) fn is_paused(&self, lane: u32) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| lane.paused)
    }

    /// Decides for each lane whether its tasks are paused.
    pub(in super::super) fn pause_lanes(&mut self, is_paused: impl Fn(Option<&Priority>) -> bool) {
        for lane in &mut self.lanes {
            lane.paused = is_paused(lane.priority.as_ref());
        }
        self.sort_lanes();
    }

    /// Sets a task aside that was out, since its function is paused.
    pub(in super::super) fn set_aside(&mut self, key: TaskKey) {
        self.leave(key, State::Paused);
        // Nothing has come of it: there is no more room than before.
        self.turnover -= 1;
    }

    /// Takes all tasks back that were set aside.
    pub(in super::super) fn release_paused(&mut self) {
        for id in 0..self.entries.len() as u32 {
            if self.state(TaskKey(id)) == Some(State::Paused) {
                self.make_ready(TaskKey(id));
            }
        }
    }

    /// Forgets the tasks that were set aside, for want of room. Returns whether there were any.
    pub(super) fn evict_paused(&mut self) -> bool {
        let is_paused = |id: &u32| self.state(TaskKey(*id)) == Some(State::Paused);
        let paused: Vec<u32> = (0..self.entries.len() as u32).filter(is_paused).collect();
        for id in &paused {
            self.remove(TaskKey(*id));
        }
        !paused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use unspool_spool::PREFIX;

    use super::super::Seen;
    use super::*;

    fn add(index: &mut Index, lane: u32, submitted_ns: i64) -> TaskKey {
        let name = [PREFIX, format!("{submitted_ns}").as_bytes()].concat();
        let seen = Seen { due_ns: 0, ctime_ns: 1, submitted_ns, bytes: 1 };
        index.see(lane, &name, seen, 1, 100);
        index.find(lane, &name).unwrap()
    }

    #[test]
    fn what_is_paused_is_never_next_and_stays_known() {
        let mut index = Index::default();
        let five = Priority::new(b"5").unwrap();
        let (top, first) = (index.lane(None), index.lane(Some(&five)));
        let (slow, quick) = (add(&mut index, first, 1), add(&mut index, top, 2));
        assert_eq!(index.best(), Some(slow));
        index.pause_lanes(|priority| priority == Some(&five));
        assert_eq!((index.best(), index.best_in(first)), (Some(quick), None));
        assert_eq!(index.oldest_due(), Some(0));
        index.pause_lanes(|_| true);
        assert_eq!((index.best(), index.oldest_due()), (None, None));
        index.pause_lanes(|_| false);
        assert_eq!(index.best(), Some(slow));
        // A lane that is new is not paused.
        assert!(!index.is_paused(index.lanes_used() as u32));
    }

    #[test]
    fn what_is_set_aside_stays_so_until_all_is_released_or_its_file_changes() {
        let mut index = Index::default();
        let top = index.lane(None);
        let (one, two) = (add(&mut index, top, 1), add(&mut index, top, 2));
        let turnover = index.turnover();
        for key in [one, two] {
            index.take(key);
            index.set_aside(key);
        }
        assert_eq!((index.best(), index.turnover()), (None, turnover));
        assert_eq!(index.depths().next().unwrap().1.paused, 2);
        // A scan that meets it as it was changes nothing.
        add(&mut index, top, 1);
        assert_eq!(index.state(one), Some(State::Paused));
        let touched = Seen { due_ns: 50, ctime_ns: 60, submitted_ns: 1, bytes: 1 };
        index.see(top, &[PREFIX, b"1"].concat(), touched, 2, 100);
        assert_eq!(index.best(), Some(one));
        index.release_paused();
        index.take(one);
        assert_eq!(index.best(), Some(two));
        index.take(two);
        index.set_aside(two);
        assert!(index.evict_paused() && !index.evict_paused());
        assert_eq!(index.counts(), (1, 0));
    }
}
