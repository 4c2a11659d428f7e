//! How many workers a spool should have, pool by pool.

use unspool_wire::control::Role;

use super::Supervisor;
use super::children::{Tenure, WorkerProcess};
use super::spools::SpoolActor;
use crate::events::{Pool, WorkerId};
use crate::settings::SpoolSettings;

/// A pool as the supervisor sees it.
#[derive(Debug)]
pub(super) struct PoolState {
    /// Workers that it may have.
    target: u32,
    /// Workers that it should have now: fewer while there is less to do (`spooler-cheap`).
    pub(super) wanted: u32,
}

impl PoolState {
    pub(super) fn new(pool: &Pool, cheap: bool) -> Self {
        Self { target: pool.target, wanted: if cheap { 0 } else { pool.target } }
    }
}

/// The pools of a spool: first the workers that run all tasks, then those of single priorities.
pub(super) fn pools_of(settings: &SpoolSettings) -> Vec<Pool> {
    let general = Pool { only: None, target: settings.workers };
    let dedicated = settings
        .dedicated
        .iter()
        .map(|d| Pool { only: Some(d.priority.clone()), target: d.workers });
    std::iter::once(general).chain(dedicated).collect()
}

impl SpoolActor {
    /// Workers that the spool may have.
    pub(super) fn wanted_most(&self) -> u32 {
        self.pools.iter().map(|pool| pool.target).sum()
    }

    /// Workers that the spool should have now.
    pub(super) fn wanted(&self) -> u32 {
        self.pools.iter().map(|pool| pool.wanted).sum()
    }
}

impl Supervisor {
    /// The workers of a pool that are of the current generation and not to be replaced.
    pub(super) fn lasting(
        &self,
        spool: usize,
        pool: usize,
    ) -> impl Iterator<Item = &WorkerProcess> {
        self.workers_of(spool).filter(move |w| w.pool == pool && w.tenure == Tenure::Lasting)
    }

    /// A worker of the pool that is to be replaced, and in whose place nobody comes yet.
    pub(super) fn without_successor(&self, spool: usize, pool: usize) -> Option<WorkerId> {
        self.workers
            .iter()
            .filter(|(_, w)| w.role == Role::Spool && w.spool == spool && w.pool == pool)
            .filter(|(_, w)| w.tenure == Tenure::Worn)
            .map(|(id, _)| *id)
            .find(|id| self.workers.values().all(|w| w.replaces != Some(*id)))
    }

    /// More tasks are due than there are workers.
    pub(super) fn want_workers(&mut self, spool: usize, pool: usize, workers: u32) {
        let Some(spool) = self.spools.get_mut(spool) else { return };
        let Some(pool) = spool.pools.get_mut(pool) else { return };
        pool.wanted = pool.wanted.max(workers.min(pool.target));
    }

    /// A worker had nothing to do and was let go.
    pub(super) fn worker_idle(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let lasting = worker.tenure == Tenure::Lasting;
        let counted = lasting && worker.generation == self.generation;
        worker.tenure = Tenure::LetGo;
        let (spool, pool) = (worker.spool, worker.pool);
        if counted && let Some(spool) = self.spools.get_mut(spool) {
            let pool = spool.pools.get_mut(pool);
            if let Some(pool) = pool {
                pool.wanted = pool.wanted.saturating_sub(1);
            }
        }
    }
}
