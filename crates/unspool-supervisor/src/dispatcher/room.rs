//! How many tasks the dispatcher keeps in memory, and what becomes of the others: they stay in their
//! files, and a scan takes them in once there is room, or one of them is next.
//!
//! What is left out is always what would run last, and the first of it is remembered: of each folder,
//! and of the delayed ones. Nothing behind that is handed out, or taken in, before a scan has met what
//! was left out. So priorities and order hold as if all were in memory.

use unspool_spool::postpone_waiting;
use unspool_sys::clock;

use super::Dispatcher;
use super::index::{Evicted, Stay, TaskKey};
use crate::journal::journal;

/// What stays of a room that is full: a quarter is freed at once, since that looks at all.
const STAY_SHARE: (usize, usize) = (3, 4);
/// Of the room, what folders with workers of their own keep together: one part in so many.
const RESERVE_SHARE: usize = 4;
/// Of the room, what tasks may take that are held against what their files say: one part in so many,
const HELD_SHARE: usize = 2;
/// and within that those that wait until somebody decides.
const KEPT_SHARE: usize = 4;
/// Files that are told their times in one go, which takes 10 us each.
const HELD_STEP_MAX: usize = 4096;
/// A scan because a task that was left out is due waits so many times as long as the last one took.
const DUE_SCAN_SHARE: u64 = 3;

/// The first of what is left out.
#[derive(Debug, Default)]
struct LeftOut {
    /// By lane: when the first of its due tasks was submitted.
    lanes: Vec<Option<i64>>,
    /// When the first of the delayed ones is due.
    due_ns: Option<i64>,
    /// There is something.
    any: bool,
}

impl LeftOut {
    fn add(&mut self, task: Evicted) {
        let earlier = |at: &mut Option<i64>, ns: i64| *at = Some(at.map_or(ns, |at| at.min(ns)));
        self.any = true;
        match task {
            Evicted::Due { lane, submitted_ns } => {
                let lane = lane as usize;
                self.lanes.resize(self.lanes.len().max(lane + 1), None);
                earlier(&mut self.lanes[lane], submitted_ns);
            }
            Evicted::Delayed { due_ns } => earlier(&mut self.due_ns, due_ns),
            Evicted::Paused => {}
        }
    }

    fn first_in(&self, lane: u32) -> Option<i64> {
        self.lanes.get(lane as usize).copied().flatten()
    }

    fn has_due(&self) -> bool {
        self.lanes.iter().any(Option::is_some)
    }

    /// Whether a task does not come before all that is left out of its kind.
    fn is_behind(&self, task: Evicted) -> bool {
        match task {
            Evicted::Due { lane, submitted_ns } => {
                self.first_in(lane).is_some_and(|first| submitted_ns >= first)
            }
            Evicted::Delayed { due_ns } => self.due_ns.is_some_and(|first| due_ns >= first),
            Evicted::Paused => false,
        }
    }
}

/// The room for tasks.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Room {
    max: usize,
    /// Since the last scan began.
    left_out: LeftOut,
    /// Before the scan that runs, which has not met all of it yet.
    before: LeftOut,
    /// [`Index::turnover`](super::index::Index::turnover) when the last scan began.
    turnover: u64,
    /// Something would be handed out, if nothing were left out that comes before it.
    waits: bool,
    /// A scan could not take in what comes first: what is known runs.
    open: bool,
    /// What the last scan took.
    cost_ns: u64,
    told: bool,
    /// Since the last scan began, old tasks were met that there is no room to keep,
    kept_out: bool,
    /// and held ones were forgotten.
    forgot: bool,
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            left_out: LeftOut::default(),
            before: LeftOut::default(),
            turnover: 0,
            waits: false,
            open: false,
            cost_ns: 0,
            told: false,
            kept_out: false,
            forgot: false,
        }
    }

    /// A scan begins: it counts anew.
    pub(super) fn begin(&mut self, turnover: u64) {
        self.before = std::mem::take(&mut self.left_out);
        (self.turnover, self.waits, self.open) = (turnover, false, false);
        (self.kept_out, self.forgot) = (false, false);
    }

    /// Whether all tasks are known.
    pub(super) fn is_enough(&self) -> bool {
        !(self.left_out.any || self.kept_out || self.forgot)
    }

    /// A lane is gone, or another folder's now.
    pub(super) fn forget_lane(&mut self, lane: u32) {
        for left_out in [&mut self.left_out, &mut self.before] {
            if let Some(first) = left_out.lanes.get_mut(lane as usize) {
                *first = None;
            }
        }
    }

    /// Nothing of a lane that was submitted later is next.
    fn bar(&self, lane: u32) -> Option<i64> {
        let bars = [self.left_out.first_in(lane), self.before.first_in(lane)];
        bars.into_iter().flatten().min()
    }

    fn has_bars(&self) -> bool {
        !self.open && (self.left_out.any || self.before.any)
    }
}

impl Dispatcher {
    /// Whether a scan would take in what was left out.
    pub(super) fn has_room_again(&self) -> bool {
        let room = &self.room;
        let progress = room.turnover != self.index.turnover();
        if !room.left_out.any || !progress || self.scanner.has_failed() {
            return false;
        }
        let (tasks, due) = self.index.counts();
        room.waits || tasks <= room.max / 2 || (due == 0 && room.left_out.has_due())
    }

    /// The time until a scan, at most, in nanoseconds: one that is left out may be due before.
    pub(super) fn scan_within_ns(&self, every_ns: u64) -> u64 {
        let Some(due_ns) = self.room.left_out.due_ns else { return every_ns };
        let until_ns = u64::try_from(due_ns.saturating_sub(self.now_ns())).unwrap_or(0);
        every_ns.min(until_ns.max(self.room.cost_ns.saturating_mul(DUE_SCAN_SHARE)))
    }

    /// A scan is over. If it could not take in what comes first, there is nothing to wait for.
    pub(super) fn room_scanned(&mut self, cost_ns: u64) {
        self.room.cost_ns = cost_ns;
        self.room.before = LeftOut::default();
        self.room.waits = false;
        for pool in 0..self.pools.len() {
            self.best_for(pool);
        }
        self.room.open = self.room.waits && self.room.turnover == self.index.turnover();
    }

    /// The best task of all, unless one that is left out comes before it.
    pub(super) fn first(&mut self) -> Option<TaskKey> {
        if !self.room.has_bars() && !self.undeleted.stops_some() {
            return self.index.best();
        }
        for at in 0..self.index.order().len() {
            let lane = self.index.order()[at];
            if self.undeleted.stops(lane) {
                continue;
            }
            let first = self.first_in(lane);
            let barred = self.room.has_bars() && self.room.bar(lane).is_some();
            if first.is_some() || barred {
                return first;
            }
        }
        None
    }

    /// The same for a lane.
    pub(super) fn first_in(&mut self, lane: u32) -> Option<TaskKey> {
        if self.undeleted.stops(lane) || self.index.is_paused(lane) {
            return None;
        }
        let best = self.index.best_in(lane);
        let bar = if self.room.has_bars() { self.room.bar(lane) } else { None };
        let Some(bar_ns) = bar else { return best };
        let first = best.filter(|key| self.index.submitted_ns(*key).is_some_and(|at| at <= bar_ns));
        self.room.waits |= first.is_none();
        first
    }

    /// Whether there is room for a task, which may be known already. Makes some, if it comes before
    /// others.
    pub(super) fn has_room(&mut self, name: &[u8], lane: u32, task: Evicted) -> bool {
        let is_full = self.index.counts().0 >= self.room.max;
        if !is_full && !self.room.left_out.is_behind(task) {
            return true;
        }
        if self.index.find(lane, name).is_some() {
            return true;
        }
        if is_full && !self.room.left_out.is_behind(task) {
            self.make_room();
            if self.index.counts().0 < self.room.max && !self.room.left_out.is_behind(task) {
                return true;
            }
        }
        self.room.left_out.add(task);
        self.note_left_out();
        false
    }

    /// Whether there is room for one more old task that waits until somebody decides. If not, it stays
    /// in its file alone, and is held by each scan anew.
    pub(super) fn has_room_to_keep(&mut self) -> bool {
        let room = self.index.kept_count() < (self.room.max / KEPT_SHARE).max(1)
            && self.index.counts().0 < self.room.max;
        if !room {
            self.room.kept_out = true;
            self.note_left_out();
        }
        room
    }

    /// Some old tasks are not known, that wait until somebody decides.
    pub(super) fn keeps_more(&self) -> bool {
        self.room.kept_out
    }

    /// Of the tasks that are held against what their files say, no more than half of the room stay,
    /// together with those that wait until somebody decides: the files of the others are told the time,
    /// so that they can leave like any delayed task. One that cannot be told is forgotten, and tried
    /// again when a scan meets it.
    fn let_held_leave(&mut self) {
        let stay = (self.room.max / HELD_SHARE).saturating_sub(self.index.kept_count());
        for (due_ns, key, ctime_ns) in self.index.latest_held(stay, HELD_STEP_MAX) {
            let Some((lane, name)) = self.index.name(key) else { continue };
            let Some(Some(folder)) = self.folders.get(lane as usize) else { continue };
            if postpone_waiting(folder, &name, ctime_ns, due_ns).is_ok_and(|told| told) {
                self.index.wait_until(key, due_ns);
            } else {
                self.room.forgot = true;
                self.index.remove(key);
            }
        }
    }

    fn make_room(&mut self) {
        self.let_held_leave();
        let dedicated = self.pools.iter().filter_map(|pool| pool.only.as_ref());
        let reserved: Vec<u32> =
            dedicated.filter_map(|priority| self.index.known_lane(priority)).collect();
        let (part, whole) = STAY_SHARE;
        let tasks = self.room.max / whole * part;
        let reserve = self.room.max / RESERVE_SHARE / reserved.len().max(1);
        let stay = Stay { tasks, max: self.room.max, reserved: &reserved, reserve };
        let left_out = &mut self.room.left_out;
        self.index.evict(stay, |task| left_out.add(task));
        if self.room.left_out.any {
            self.note_left_out();
        }
    }

    fn note_left_out(&mut self) {
        // Who submits has to count by listing now.
        self.counting.stop();
        self.seen_in_part();
        if !self.scanner.is_running()
            && let Some(at_ns) = self.scanner.next_ns()
        {
            let now_ns = clock::monotonic_ns();
            let within_ns = self.scan_within_ns(at_ns.saturating_sub(now_ns));
            self.scanner.scan_at(now_ns + within_ns);
        }
        if !std::mem::replace(&mut self.room.told, true) {
            journal!(SPOOL_FULL,
                spool = %self.dir.path().display(),
                tasks = self.index.counts().0,
                limit = self.room.max,
                "more tasks are pending than `spooler-max-known` allows to keep in memory; those that \
                 run last wait in their files until there is room, and each time the spool is \
                 listed again: raise the limit if there is memory for more"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_in_behind_what_is_left_out() {
        let due = |lane, submitted_ns| Evicted::Due { lane, submitted_ns };
        let mut left_out = LeftOut::default();
        assert!(!left_out.is_behind(due(1, 5)));
        left_out.add(due(1, 5));
        left_out.add(due(1, 7));
        assert!(left_out.is_behind(due(1, 5)) && !left_out.is_behind(due(1, 4)));
        assert!(!left_out.is_behind(due(0, 9)) && !left_out.is_behind(due(2, 9)));
        assert!(!left_out.is_behind(Evicted::Delayed { due_ns: 9 }));
        left_out.add(Evicted::Delayed { due_ns: 9 });
        assert!(left_out.is_behind(Evicted::Delayed { due_ns: 9 }));
        assert!(!left_out.is_behind(Evicted::Delayed { due_ns: 8 }));
    }

    #[test]
    fn what_was_left_out_bars_others_until_a_scan_is_over() {
        let mut room = Room::new(100);
        assert!(!room.has_bars());
        room.left_out.add(Evicted::Due { lane: 2, submitted_ns: 5 });
        room.begin(0);
        assert!(room.is_enough() && room.has_bars());
        room.left_out.add(Evicted::Due { lane: 2, submitted_ns: 8 });
        assert_eq!((room.bar(2), room.bar(1)), (Some(5), None));
        room.before = LeftOut::default();
        assert_eq!(room.bar(2), Some(8));
        room.forget_lane(2);
        assert_eq!(room.bar(2), None);
    }
}
