//! Reload: a new zygote imports the application; its workers replace the old ones, which finish
//! the tasks that they run.

use tracing::info;

use unspool_wire::control::Role;

use super::Supervisor;
use crate::events::ToDispatcher;
use crate::journal::journal;
use crate::uwsgi_lines;

impl Supervisor {
    /// SIGHUP, a touch, a changed source file or the master FIFO.
    pub(super) fn reload(&mut self) {
        if self.ladder.is_some() {
            return;
        }
        if self.watch.exit_on_reload {
            info!("`exit-on-reload`: a reload was asked for, so the daemon stops");
            self.stop();
            return;
        }
        if self.next_zygote.is_some() {
            // What the running import has read already may be old.
            self.reload_wanted = true;
            return;
        }
        journal!(RELOAD_STARTED, "reloading the application");
        uwsgi_lines::reloading();
        self.start_zygote();
    }

    pub(super) fn reload_again_if_wanted(&mut self) {
        if std::mem::take(&mut self.reload_wanted) {
            self.reload();
        }
    }

    /// A new generation is there: starts its workers.
    pub(super) fn adopt_generation(&mut self, reloaded: bool) {
        self.end_outdated_imports();
        for spool in 0..self.spools.len() {
            self.spools[spool].backoff.reset();
            self.spools[spool].spawn_at_ns = None;
            self.ensure_workers(spool);
            self.retire_if_replaced(spool);
        }
        self.retire_tick_workers();
        if reloaded {
            self.moments.reloaded.reached();
            self.reload_attached();
        }
        self.replace_mules();
        self.replace_web_workers();
        self.begin_hooks();
        self.announce();
        self.reload_again_if_wanted();
    }

    /// Lets the workers of earlier generations go once enough new ones are ready.
    pub(super) fn retire_if_replaced(&mut self, spool: usize) {
        let generation = self.generation;
        let ready = self.workers_of(spool).filter(|w| w.ready).count() as u32;
        let old = self
            .workers
            .values()
            .any(|w| w.role == Role::Spool && w.spool == spool && w.generation != generation);
        let Some(actor) = self.spools.get_mut(spool) else { return };
        if actor.serving == generation || ready < actor.wanted() {
            return;
        }
        let first = actor.serving == 0 && !old;
        actor.serving = generation;
        if first {
            return;
        }
        let path = actor.path.display().to_string();
        self.tell(spool, ToDispatcher::Retire { before: generation });
        self.limit_retired(spool);
        // Whoever submits after reading this gets the new code: the dispatcher hears of the
        // retirement before it sees the task.
        journal!(RELOAD_DONE, spool = %path, "reload done");
    }
}
