//! Which tasks leave the index when there are more than may be kept in memory.
//!
//! Of each folder, and of the delayed ones, it is always those that would run last. So whatever is left
//! of a folder runs before all that has left.

use super::{Entry, Index, State, TaskKey};

/// What is to stay.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Stay<'a> {
    /// Tasks in all.
    pub(in super::super) tasks: usize,
    /// Tasks that there is memory for: where those that cannot leave take most of it, the others keep
    /// a share of the rest.
    pub(in super::super) max: usize,
    /// Lanes that have workers of their own, which other lanes must not leave without tasks,
    pub(in super::super) reserved: &'a [u32],
    /// and how many of each of those stay.
    pub(in super::super) reserve: usize,
}

/// A task that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Evicted {
    /// It was due.
    Due { lane: u32, submitted_ns: i64 },
    /// It was not.
    Delayed { due_ns: i64 },
    /// Some were due and paused: nothing waits for them.
    Paused,
}

/// Of what those leave that cannot, one in so many stays for the others.
const FREE_SHARE: usize = 2;

/// When a task is due, which, and when its file had last changed.
pub(in super::super) type HeldBack = (i64, TaskKey, i64);

/// The place of its lane, when it was submitted, and its ID.
type Rank = (u32, i64, u32);

impl Index {
    /// Forgets what runs last: of those that are due by order, of the delayed ones by time. Each kind
    /// has half of the room, and what the other leaves. A task that is out, kept, or held against what
    /// its file says stays.
    pub(in super::super) fn evict(&mut self, stay: Stay<'_>, mut each: impl FnMut(Evicted)) {
        let turnover = self.turnover;
        if self.evict_paused() {
            each(Evicted::Paused);
        }
        let (mut ready, mut delayed) = self.evictable();
        let fixed = self.by_name.len() - ready.len() - delayed.len();
        let free = stay.max.saturating_sub(fixed);
        let room = stay.tasks.saturating_sub(fixed).max(free.div_ceil(FREE_SHARE));
        let ready_room = room - delayed.len().min(room / 2);
        let ready_stay = ready.len().min(ready_room);
        self.reserve(&mut ready, stay);
        for (_, submitted_ns, id) in beyond(&mut ready, ready_stay) {
            if let Some(lane) = self.lane_of(TaskKey(*id)) {
                each(Evicted::Due { lane, submitted_ns: *submitted_ns });
            }
            self.remove(TaskKey(*id));
        }
        for (due_ns, id) in beyond(&mut delayed, room - ready_stay) {
            each(Evicted::Delayed { due_ns: *due_ns });
            self.remove(TaskKey(*id));
        }
        self.turnover = turnover;
        self.drop_stale();
    }

    /// Of the tasks that are held against what their files say, all but `stay`, and no more than `count`:
    /// those with the latest times, with those and the change times of their files.
    pub(in super::super) fn latest_held(&self, stay: usize, count: usize) -> Vec<HeldBack> {
        let is_held = |entry: &&Entry| entry.state == State::Delayed && entry.held_ctime_ns != 0;
        let mut held: Vec<HeldBack> = (0..)
            .zip(&self.entries)
            .filter_map(|(id, entry)| {
                let entry = entry.as_ref().filter(is_held)?;
                Some((entry.due_ns, TaskKey(id), entry.held_ctime_ns))
            })
            .collect();
        let stay = stay.max(held.len().saturating_sub(count));
        if stay >= held.len() {
            return Vec::new();
        }
        held.select_nth_unstable_by_key(stay, |(due_ns, key, _)| (*due_ns, key.0));
        held.split_off(stay)
    }

    fn evictable(&self) -> (Vec<Rank>, Vec<(i64, u32)>) {
        let mut places = vec![0; self.lanes.len()];
        for (place, lane) in (1..).zip(&self.order) {
            places[*lane as usize] = place;
        }
        let (mut ready, mut delayed) = (Vec::new(), Vec::new());
        for (id, entry) in (0..).zip(&self.entries) {
            let Some(entry) = entry.as_ref().filter(|entry| entry.held_ctime_ns == 0) else {
                continue;
            };
            match entry.state {
                State::Ready => ready.push((places[entry.lane as usize], entry.submitted_ns, id)),
                State::Delayed => delayed.push((entry.due_ns, id)),
                State::Out | State::Kept | State::Paused => {}
            }
        }
        (ready, delayed)
    }

    /// Moves the first few of each reserved lane in front of all others.
    fn reserve(&self, ready: &mut [Rank], stay: Stay<'_>) {
        for lane in stay.reserved {
            let is_own = |rank: &Rank| self.lane_of(TaskKey(rank.2)) == Some(*lane);
            let mut own: Vec<&mut Rank> = ready.iter_mut().filter(|rank| is_own(rank)).collect();
            if own.len() > stay.reserve {
                own.select_nth_unstable_by_key(stay.reserve, |rank| (rank.1, rank.2));
            }
            own.into_iter().take(stay.reserve).for_each(|rank| rank.0 = 0);
        }
    }

    /// Most of a heap may be items of tasks that have just left.
    fn drop_stale(&mut self) {
        let mut delayed = std::mem::take(&mut self.delayed);
        delayed.retain(|item| self.is_current(item.0.1, item.0.2));
        self.delayed = delayed;
        for lane in 0..self.lanes.len() {
            let mut ready = std::mem::take(&mut self.lanes[lane].ready);
            ready.retain(|item| self.is_current(item.0.1, item.0.2));
            self.lanes[lane].ready = ready;
        }
    }
}

/// All but the first so many, in no order.
fn beyond<T: Ord>(all: &mut [T], stay: usize) -> &[T] {
    if stay >= all.len() {
        return &[];
    }
    all.select_nth_unstable(stay);
    &all[stay..]
}

#[cfg(test)]
mod tests {
    use unspool_core::Priority;
    use unspool_spool::PREFIX;

    use super::super::Seen;
    use super::*;

    fn add(index: &mut Index, lane: u32, submitted_ns: i64, due_ns: i64) {
        let name = [PREFIX, format!("{submitted_ns}").as_bytes()].concat();
        let seen = Seen { due_ns, ctime_ns: 1, submitted_ns, bytes: 1 };
        index.see(lane, &name, seen, 1, 100);
    }

    fn submitted(index: &mut Index) -> Vec<i64> {
        let mut times = Vec::new();
        while let Some(key) = index.best() {
            times.extend(index.submitted_ns(key));
            index.remove(key);
        }
        times
    }

    #[test]
    fn what_runs_last_leaves_first_and_each_kind_has_half() {
        let mut index = Index::default();
        let (top, five) = (index.lane(None), index.lane(Some(&Priority::new(b"5").unwrap())));
        for number in 0..4 {
            add(&mut index, top, number, 0);
            add(&mut index, five, 10 + number, 0);
            add(&mut index, top, 20 + number, 1000 - number);
        }
        let mut gone = Vec::new();
        index.evict(Stay { tasks: 10, max: 12, reserved: &[], reserve: 0 }, |task| gone.push(task));
        gone.sort_by_key(|task| match task {
            Evicted::Due { submitted_ns, .. } => *submitted_ns,
            Evicted::Delayed { due_ns } => *due_ns,
            Evicted::Paused => 0,
        });
        let due = |submitted_ns| Evicted::Due { lane: top, submitted_ns };
        assert_eq!(gone, [due(2), due(3)]);
        gone.clear();
        index
            .evict(Stay { tasks: 4, max: 5, reserved: &[top], reserve: 1 }, |task| gone.push(task));
        assert_eq!(gone.len(), 6);
        assert!(gone.contains(&Evicted::Delayed { due_ns: 1000 }), "{gone:?}");
        assert_eq!(index.next_due(), Some(997));
        assert_eq!(submitted(&mut index), [10, 0]);
        assert_eq!(index.counts(), (2, 0));
    }

    #[test]
    fn what_is_out_or_held_stays() {
        let mut index = Index::default();
        let top = index.lane(None);
        (0..4).for_each(|number| add(&mut index, top, number, 0));
        let out = index.best().unwrap();
        index.take(out);
        let held = index.best().unwrap();
        index.take(held);
        index.delay(held, 5000, Some(1));
        index.evict(Stay { tasks: 1, max: 2, reserved: &[], reserve: 0 }, |_| {});
        assert_eq!((index.state(out), index.state(held)), (Some(State::Out), Some(State::Delayed)));
        assert_eq!(index.counts(), (2, 0));
    }

    #[test]
    fn of_those_that_are_held_the_latest_go_and_so_many() {
        let mut index = Index::default();
        let top = index.lane(None);
        (0..8).for_each(|number| add(&mut index, top, number, 0));
        for due_ns in [50, 20, 40, 30, 10] {
            let key = index.best().unwrap();
            index.take(key);
            index.delay(key, due_ns, Some(7));
        }
        let latest = |stay, count| {
            let mut held = index.latest_held(stay, count);
            held.sort_unstable_by_key(|(due_ns, ..)| *due_ns);
            held.into_iter().map(|(due_ns, _, ctime_ns)| (due_ns, ctime_ns)).collect::<Vec<_>>()
        };
        assert_eq!(latest(2, 9), [(30, 7), (40, 7), (50, 7)]);
        assert_eq!(latest(2, 1), [(50, 7)]);
        assert!(latest(5, 9).is_empty() && latest(2, 0).is_empty());
    }

    #[test]
    fn beside_many_that_stay_the_first_ones_of_the_others_do() {
        let mut index = Index::default();
        let top = index.lane(None);
        (0..10).for_each(|number| add(&mut index, top, number, 0));
        for _ in 0..8 {
            let out = index.best().unwrap();
            index.take(out);
        }
        (10..14).for_each(|number| add(&mut index, top, number, 0));
        index.evict(Stay { tasks: 7, max: 12, reserved: &[], reserve: 0 }, |_| {});
        assert_eq!(submitted(&mut index), [8, 9]);
    }
}
