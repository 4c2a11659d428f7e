//! How many workers there is work for (`spooler-cheap`): asks for some when tasks are due, and lets
//! those go that have had nothing to do for a while.

use unspool_sys::clock;

use super::worker::{Stage, Worker};
use super::{Dispatcher, Life};
use crate::events::{ToSupervisor, WorkerId};

/// How long a worker waits for more work. To fork one costs milliseconds.
const IDLE_NS: u64 = 3_000_000_000;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Demand {
    cheap: bool,
    /// Index of the spool.
    spool: usize,
    /// By pool: how many workers the supervisor was last asked for.
    asked: Vec<u32>,
}

impl Demand {
    pub(super) fn new(cheap: bool, spool: usize, pools: usize) -> Self {
        Self { cheap, spool, asked: vec![0; pools] }
    }

    /// Workers come or go: what was asked for is out of date.
    pub(super) fn changed(&mut self) {
        self.asked.fill(0);
    }
}

impl Dispatcher {
    /// Asks for workers if more tasks are due than there are workers for them.
    pub(super) fn publish_demand(&mut self) {
        if !self.demand.cheap || self.life != Life::Running {
            return;
        }
        if !self.scanner.knows_enough(clock::monotonic_ns()) {
            return;
        }
        for pool in 0..self.pools.len() {
            let target = self.pools[pool].target as usize;
            let due = self.due_for(pool);
            let lasts = |w: &&Worker| {
                w.pool == pool
                    && !w.replaced
                    && !w.told_worn
                    && matches!(w.stage, Stage::Starting | Stage::Ready)
            };
            let present = self.workers.values().filter(lasts).count();
            let busy = self.workers.values().filter(lasts).filter(|w| w.outstanding() > 0).count();
            let want = target.min(busy + due);
            if due > 0 && want > present && want as u32 > self.demand.asked[pool] {
                self.demand.asked[pool] = want as u32;
                let (spool, workers) = (self.demand.spool, want as u32);
                self.outbox.send(ToSupervisor::Want { spool, pool, workers });
            }
        }
    }

    /// Tasks that are due for a pool and were not handed out.
    fn due_for(&mut self, pool: usize) -> usize {
        if self.best_for(pool).is_none() {
            return 0;
        }
        match self.pools[pool].only.as_ref().and_then(|only| self.index.known_lane(only)) {
            None => self.index.counts().1,
            Some(lane) => self.index.due_in(lane),
        }
    }

    /// Lets workers go that have had nothing to do for a while.
    pub(super) fn let_idle_go(&mut self) {
        let Some(at_ns) = self.next_idle_ns() else { return };
        let now_ns = clock::monotonic_ns();
        if at_ns > now_ns {
            return;
        }
        let idle: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|w| w.is_idle() && w.progress_ns + IDLE_NS <= now_ns)
            .map(|w| w.id)
            .collect();
        self.demand.changed();
        for id in idle {
            self.outbox.send(ToSupervisor::Idle { worker: id });
            self.leave(|worker| worker.id == id);
        }
    }

    /// When the next worker is let go.
    pub(super) fn next_idle_ns(&self) -> Option<u64> {
        if !self.demand.cheap {
            return None;
        }
        let idle = self.workers.values().filter(|w| w.is_idle());
        idle.map(|w| w.progress_ns + IDLE_NS).min()
    }
}
