//! How a spool is doing: what SIGUSR1 asks for.

use super::Dispatcher;
use super::worker::Stage;
use crate::journal::journal;
use crate::snapshot::Outcomes;

impl Dispatcher {
    /// Logs the state of the spool in a line.
    pub(super) fn log_state(&self) {
        let spool = self.dir.path().display();
        let (known, due) = self.index.counts();
        let workers = self.workers.values().filter(|worker| worker.stage != Stage::Broken);
        let (workers, running, handed) = workers.fold((0, 0, 0), |(all, busy, handed), worker| {
            let outstanding = worker.outstanding();
            (all + 1, busy + usize::from(outstanding > 0), handed + outstanding)
        });
        let pending = known.saturating_sub(handed);
        let Outcomes { done, failed, .. } = self.tally.outcomes;
        journal!(
            SPOOL_STATE, %spool, pending, due, running, done, failed, workers,
            "state of the spool"
        );
    }
}
