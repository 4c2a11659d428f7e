//! Why a task does not run: what is known here of it, and of what keeps tasks from being claimed.
//!
//! Bounded: one look at the tasks of a folder, and none at a file.

use unspool_spool::Place;
use unspool_sys::clock;
use unspool_sys::slots::Slot;

use super::index::{State, TaskKey};
use super::worker::{Stage, Worker};
use super::{Dispatcher, Life};
use crate::events::ToSupervisor;
use crate::explanation::{Busy, Dispatch, Explanation, Holding, KnownTask, Standing, Takers};

/// Busy workers that are named.
const BUSY_SHOWN: usize = 8;

impl Dispatcher {
    /// Tells what is known of a task.
    pub(super) fn explain(&mut self, client: u32, place: &Place) {
        let lane = match &place.priority {
            None => Some(0),
            Some(priority) => self.index.known_lane(priority),
        };
        self.index.promote(self.now_ns());
        let key = lane.and_then(|lane| self.index.find(lane, &place.name));
        let task = key.map(|key| self.known_task(key));
        let dispatch = self.dispatch(lane);
        let explanation = Box::new(Explanation { task, dispatch });
        self.outbox.send(ToSupervisor::Explained { client, explanation });
    }

    fn known_task(&mut self, key: TaskKey) -> KnownTask {
        let standing = match self.index.state(key) {
            Some(State::Delayed) => Standing::Delayed,
            Some(State::Out) => Standing::Claimed,
            Some(State::Kept) => Standing::Held,
            Some(State::Paused) => Standing::Paused,
            Some(State::Ready) | None => Standing::Due,
        };
        let names = self.history.names();
        let function = self.index.function(key).and_then(|function| names.get(function as usize));
        KnownTask {
            standing,
            due_at: self.index.due_ns(key).unwrap_or(0) as f64 / 1e9,
            put_off: self.index.put_off(key),
            function: function.map(|name| String::from_utf8_lossy(name).into_owned()),
            position: self.index.position(key),
            worker: self.holding(key),
            cancelled: self.cancels.has(key),
            undeleted: self.undeleted.iter().any(|held| held.key == key),
        }
    }

    fn holding(&self, key: TaskKey) -> Option<Holding> {
        self.workers.values().find_map(|worker| {
            let (slot, ..) = worker.handed().find(|(_, held, _)| held.key == key)?;
            let running_ms = self.running_ms(worker, slot);
            let mut others = worker.handed().filter(|(other, ..)| *other != slot);
            let behind = running_ms.is_none()
                && others.any(|(other, ..)| self.running_ms(worker, other).is_some());
            Some(Holding { worker: worker.id, pid: worker.pid, running_ms, behind })
        })
    }

    fn running_ms(&self, worker: &Worker, slot: u8) -> Option<u64> {
        let slot = self.slots.row(worker.row)?.get(usize::from(slot))?;
        let since_ns = Slot::running_since(slot)?;
        Some(clock::monotonic_ns().saturating_sub(since_ns) / 1_000_000)
    }

    fn dispatch(&mut self, lane: Option<u32>) -> Dispatch {
        let now_ns = clock::monotonic_ns();
        let rest_ns = self.claim_again_at_ns.saturating_sub(now_ns);
        let waits_for_scan = lane.is_some_and(|lane| {
            let is_stopped = self.undeleted.stops(lane);
            !is_stopped && self.index.best_in(lane).is_some() && self.first_in(lane).is_none()
        });
        Dispatch {
            rate_per_s: self.pace.per_second(self.tally.outcomes.runs(), now_ns),
            starting: !self.scanner.knows_enough(now_ns),
            scanning: self.scanner.is_running(),
            stopping: self.life != Life::Running,
            undeleted: self.undeleted.count(),
            undeleted_stops: self.undeleted.stops_all()
                || lane.is_some_and(|lane| self.undeleted.stops(lane)),
            claims_rest_ms: (rest_ns > 0).then_some(rest_ns / 1_000_000),
            claim_error: self.claim_error.clone().filter(|_| rest_ns > 0),
            left_out: !self.room.is_enough(),
            waits_for_scan,
            attempts_max: self.retry.attempts_max,
            deaths_max: self.retry.deaths_max,
            retries_max: self.retry.retries_max,
            settle_ms: self.settle_ns as u64 / 1_000_000,
            workers: self.takers(lane),
        }
    }

    /// The workers that may run the tasks of a folder; of one that is not known, those that run all.
    fn takers(&self, lane: Option<u32>) -> Takers {
        let serves = |worker: &&Worker| match lane {
            Some(lane) => self.serves(worker, lane),
            None => worker.only.is_none(),
        };
        let mut takers = Takers::default();
        for worker in self.workers.values().filter(serves) {
            takers.all += 1;
            match worker.stage {
                Stage::Starting => takers.starting += 1,
                _ if worker.replaced => takers.leaving += 1,
                Stage::Leaving | Stage::Broken => takers.leaving += 1,
                Stage::Ready if worker.ticks > 0 => takers.ticking += 1,
                Stage::Ready if worker.is_idle() => takers.idle += 1,
                Stage::Ready => {
                    takers.busy_count += 1;
                    takers.busy.extend(self.busy(worker));
                }
            }
        }
        takers.busy.sort_by_key(|busy| std::cmp::Reverse(busy.since_ms));
        takers.busy.truncate(BUSY_SHOWN);
        takers
    }

    fn busy(&self, worker: &Worker) -> Option<Busy> {
        worker.handed().find_map(|(slot, held, _)| {
            let since_ms = self.running_ms(worker, slot)?;
            let function = super::outcome::function_of(held);
            Some(Busy { pid: worker.pid, task: self.display(held.key), function, since_ms })
        })
    }
}
