//! Reload: a new zygote imports the application; its workers replace the old ones, which finish
//! the tasks that they run.

use tracing::info;

use super::Supervisor;
use crate::events::ToDispatcher;

impl Supervisor {
    /// SIGHUP.
    pub(super) fn reload(&mut self) {
        if self.ladder.is_some() {
            return;
        }
        if self.next_zygote.is_some() {
            // What the running import has read already may be old.
            self.reload_wanted = true;
            return;
        }
        info!("reloading the application");
        self.start_zygote();
    }

    pub(super) fn reload_again_if_wanted(&mut self) {
        if std::mem::take(&mut self.reload_wanted) {
            self.reload();
        }
    }

    /// A new generation is there: starts its workers.
    pub(super) fn adopt_generation(&mut self) {
        for spool in 0..self.spools.len() {
            self.spools[spool].backoff.reset();
            self.spools[spool].spawn_at_ns = None;
            self.ensure_workers(spool);
        }
        self.retire_tick_workers();
        self.announce();
        self.reload_again_if_wanted();
    }

    /// Lets the workers of earlier generations go once enough new ones are ready.
    pub(super) fn retire_if_replaced(&mut self, spool: usize) {
        let ready = self.workers_of(spool).filter(|w| w.ready).count() as u32;
        let old = self
            .workers
            .values()
            .any(|w| w.spool == spool && w.generation != self.generation && w.row.is_some());
        if old && self.spools.get(spool).is_some_and(|s| ready >= s.target) {
            self.tell(spool, ToDispatcher::Retire { before: self.generation });
        }
    }
}
