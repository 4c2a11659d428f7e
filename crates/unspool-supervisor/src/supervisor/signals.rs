//! uwsgi signals: where a raised one goes. Handlers that are known from the import run in workers
//! of their own (`ticks`) or in mules; those registered at run time run in the process that did.
//!
//! Of each signal at most one run and one wait in each place; more are coalesced.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, warn};
use unspool_wire::control::{Role, SignalSpec};

use super::Supervisor;
use super::mules::Mules;
use super::tick_log::Tick;
use crate::events::{ToDispatcher, WorkerId};

/// Deliveries of one signal to one process that are under way: one runs, one waits.
const UNDER_WAY_MAX: u8 = 2;
/// Threads of all processes that wait for a signal.
const WAITING_MAX: usize = 4096;

/// Where handlers run, in uWSGI's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Workers of this daemon, which are forked for it.
    Pool,
    /// The same, as spoolers.
    Spooler,
    /// One mule, or whichever is free.
    Mule(Option<u32>),
    /// Every mule.
    Mules,
    /// One mule of the farm of this name.
    Farm(String),
    /// One mule of the farm of this number, from 1.
    FarmNumber(u32),
    /// uWSGI's `subscribed`: only nodes of a cluster.
    Nobody,
    /// None that there is.
    Unknown,
}

impl Target {
    fn parse(text: &str) -> Self {
        let number = |prefix: &str| text.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
        match text {
            "spooler" => Self::Spooler,
            "" | "worker" | "workers" | "active-workers" => Self::Pool,
            "mule" | "mule0" => Self::Mule(None),
            "mules" => Self::Mules,
            "subscribed" => Self::Nobody,
            // A spooler's directory: uWSGI's documentation has it.
            path if path.starts_with('/') => Self::Spooler,
            _ if number("worker").is_some() => Self::Pool,
            _ if number("mule").is_some() => Self::Mule(number("mule")),
            _ => match text.strip_prefix("farm_") {
                Some(farm) => Self::Farm(farm.to_owned()),
                None => number("farm").map_or(Self::Unknown, Self::FarmNumber),
            },
        }
    }
}

/// What is known of signals.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Of the current generation.
    targets: BTreeMap<u8, Target>,
    /// Registered at run time.
    local: BTreeMap<u8, WorkerId>,
    /// Processes in `signal_wait`, and which signal they want, in order.
    waiting: Vec<(WorkerId, Option<u8>)>,
    /// Raised while nobody had a handler or waited: the next one to wait takes them.
    unclaimed: BTreeSet<u8>,
    under_way: BTreeMap<(WorkerId, u8), u8>,
}

impl Routes {
    /// Takes what the application registered while it was imported.
    pub(super) fn replace(&mut self, signals: &[SignalSpec], mules: &Mules) {
        self.targets.clear();
        for SignalSpec { signal, target, .. } in signals {
            let mut parsed = Target::parse(target);
            let mule = match &parsed {
                Target::Mule(Some(number)) => mules.has(*number),
                Target::Mule(None) | Target::Mules => mules.has(1),
                Target::Farm(_) | Target::FarmNumber(_) => !mules.of_farm(&parsed).is_empty(),
                Target::Pool | Target::Spooler | Target::Nobody | Target::Unknown => true,
            };
            if !mule {
                warn!(signal, target, "signal is for a mule that there is none of: never handled");
                parsed = Target::Nobody;
            } else if parsed == Target::Unknown {
                warn!(signal, target, "signal has a target that there is none of: never handled");
            }
            self.targets.insert(*signal, parsed);
        }
    }

    /// Whether the import registered a handler, which any process then has.
    pub(super) fn is_global(&self, signal: u8) -> bool {
        self.targets.contains_key(&signal)
    }

    /// Whether any handler runs in workers for ticks.
    pub(super) fn need_tick_workers(&self) -> bool {
        self.targets.values().any(|target| matches!(target, Target::Pool | Target::Spooler))
    }

    /// Whether the handler of a signal is meant to run in a spooler.
    pub(super) fn is_for_spoolers(&self, signal: u8) -> bool {
        self.targets.get(&signal) == Some(&Target::Spooler)
    }

    /// Whether a process has handlers of its own and has to stay for them.
    pub(super) fn has_handler(&self, worker: WorkerId) -> bool {
        self.local.values().any(|owner| *owner == worker)
    }

    /// The first process that waits for this signal. It waits no more.
    fn take_waiter(&mut self, signal: u8, may: impl Fn(WorkerId) -> bool) -> Option<WorkerId> {
        let at = (self.waiting.iter()).position(|(worker, wanted)| {
            wanted.is_none_or(|wanted| wanted == signal) && may(*worker)
        })?;
        Some(self.waiting.remove(at).0)
    }

    /// Notes a delivery. `false` if there is one already that has not begun.
    fn begin(&mut self, worker: WorkerId, signal: u8) -> bool {
        let count = self.under_way.entry((worker, signal)).or_default();
        let free = *count < UNDER_WAY_MAX;
        *count += u8::from(free);
        free
    }

    fn end(&mut self, worker: WorkerId, signal: u8) {
        if let Some(count) = self.under_way.get_mut(&(worker, signal)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.under_way.remove(&(worker, signal));
            }
        }
    }

    /// Forgets a process. Returns the signals that it handled.
    fn forget(&mut self, worker: WorkerId) -> Vec<u8> {
        self.waiting.retain(|(waiting, _)| *waiting != worker);
        self.under_way.retain(|(owner, _), _| *owner != worker);
        let lost = self.local.iter().filter(|(_, owner)| **owner == worker);
        let lost: Vec<u8> = lost.map(|(signal, _)| *signal).collect();
        self.local.retain(|_, owner| *owner != worker);
        lost
    }
}

impl Supervisor {
    /// A signal was raised, by a timer, a cron or a process.
    pub(super) fn raise(&mut self, signal: u8) {
        if self.ladder.is_some() {
            return;
        }
        if self.generation == 0 {
            // Raised by an import: its handler may be registered further down.
            self.routes.unclaimed.insert(signal);
            return;
        }
        let target = self.routes.targets.get(&signal).cloned();
        let heard = match target {
            None => self.raise_in_waiter(signal, true),
            Some(Target::Pool | Target::Spooler) => self.raise_in_waiter(signal, false),
            Some(_) => false,
        };
        if heard {
            return;
        }
        if let Some(owner) = self.routes.local.get(&signal).copied() {
            self.deliver(owner, signal);
            return;
        }
        match target {
            Some(Target::Pool | Target::Spooler) => self.ticks.raise(signal),
            Some(Target::Nobody | Target::Unknown) => {}
            Some(target) => self.raise_in_mules(&target, signal),
            None => {
                if self.routes.unclaimed.insert(signal) {
                    warn!(signal, "signal has no handler, and no process waits for it");
                }
            }
        }
    }

    /// Mules wait for what no other process would handle.
    fn raise_in_waiter(&mut self, signal: u8, in_mules: bool) -> bool {
        loop {
            let workers = &self.workers;
            let may = |id| in_mules || workers.get(&id).is_some_and(|w| w.role != Role::Mule);
            let Some(worker) = self.routes.take_waiter(signal, may) else { return false };
            if self.deliver(worker, signal) {
                return true;
            }
        }
    }

    /// Signals that were raised before there was an application to handle them.
    pub(super) fn raise_early(&mut self) {
        let early: Vec<u8> = (self.routes.unclaimed.iter().copied())
            .filter(|signal| self.routes.targets.contains_key(signal))
            .collect();
        for signal in early {
            self.routes.unclaimed.remove(&signal);
            self.raise(signal);
        }
    }

    /// Has a process handle a signal as soon as it is free. `false` if it cannot be told.
    fn deliver(&mut self, worker: WorkerId, signal: u8) -> bool {
        let Some(process) = self.workers.get(&worker) else { return false };
        let (role, spool) = (process.role, process.spool);
        if role == Role::Mule {
            // It keeps account itself.
            return self.raise_in_process(worker, signal);
        }
        if !self.routes.begin(worker, signal) {
            return true;
        }
        match role {
            Role::Spool => {
                self.tell(spool, ToDispatcher::Tick { worker, signal });
                true
            }
            Role::Signal | Role::Mule => self.send_tick(worker, signal),
            // It looks at requests alone.
            Role::Web => false,
        }
    }

    /// A process has handled a signal.
    pub(super) fn tick_done(
        &mut self,
        worker: WorkerId,
        signal: u8,
        duration_ns: u64,
        error: Option<String>,
    ) {
        self.routes.end(worker, signal);
        let pid = self.pid_of(worker);
        self.tick_log.ended(&Tick { signal, mule: None, pid, duration_ns, error });
    }

    /// A process registered a handler at run time.
    pub(super) fn register_in(&mut self, worker: WorkerId, signal: u8) -> Result<(), String> {
        if self.routes.targets.contains_key(&signal) {
            return Err(format!("signal {signal} is registered by the application's import"));
        }
        self.check_hears(worker)?;
        if let Some(owner) = self.routes.local.insert(signal, worker)
            && owner != worker
        {
            let (old, new) = (self.pid_of(owner), self.pid_of(worker));
            warn!(signal, old, new, "signal is registered by two processes: the new one gets it");
        }
        if self.routes.unclaimed.remove(&signal) {
            self.raise(signal);
        }
        Ok(())
    }

    /// Web workers hear of no signal: they look at requests alone.
    pub(super) fn check_hears(&self, worker: WorkerId) -> Result<(), String> {
        if self.workers.get(&worker).is_some_and(|worker| worker.role == Role::Web) {
            return Err(
                "a web worker neither handles signals nor waits for them: register handlers \
                        where the application is imported"
                    .into(),
            );
        }
        Ok(())
    }

    /// A process waits for a signal.
    pub(super) fn wait_in(&mut self, worker: WorkerId, signal: Option<u8>) {
        let mule = self.workers.get(&worker).is_some_and(|worker| worker.role == Role::Mule);
        if mule && self.routes.waiting.contains(&(worker, signal)) {
            // An earlier wait, which ended by a signal for that mule.
            return;
        }
        let found = match signal {
            Some(signal) => self.routes.unclaimed.take(&signal),
            None => self.routes.unclaimed.pop_first(),
        };
        match found {
            Some(signal) => {
                self.deliver(worker, signal);
            }
            None if self.routes.waiting.len() < WAITING_MAX => {
                self.routes.waiting.push((worker, signal));
            }
            None => error!(signal, "too many threads wait for signals: one is left waiting"),
        }
    }

    /// A process has ended, and the handlers in it with it.
    pub(super) fn forget_handlers(&mut self, worker: WorkerId) {
        let lost = self.routes.forget(worker);
        if lost.is_empty() {
            return;
        }
        for signal in &lost {
            self.schedule.remove(*signal);
            self.watcher.remove_monitors(*signal);
        }
        let pid = self.pid_of(worker);
        warn!(pid, signals = ?lost, "handlers that were registered at run time end with their process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_uwsgis_words() {
        for text in ["", "worker", "worker0", "worker3", "workers", "active-workers"] {
            assert_eq!(Target::parse(text), Target::Pool, "{text}");
        }
        for text in ["spooler", "/srv/app/spool"] {
            assert_eq!(Target::parse(text), Target::Spooler, "{text}");
        }
        for (text, target) in [
            ("mule", Target::Mule(None)),
            ("mule0", Target::Mule(None)),
            ("mule2", Target::Mule(Some(2))),
            ("mules", Target::Mules),
            ("farm1", Target::FarmNumber(1)),
            ("farm_mail", Target::Farm("mail".into())),
            ("farm_1", Target::Farm("1".into())),
            ("farmmail", Target::Unknown),
            ("mules1", Target::Unknown),
            ("subscribed", Target::Nobody),
            ("spooler1", Target::Unknown),
            ("cluster", Target::Unknown),
            ("farm", Target::Unknown),
        ] {
            assert_eq!(Target::parse(text), target, "{text}");
        }
    }

    #[test]
    fn one_runs_and_one_waits() {
        let mut routes = Routes::default();
        assert!(routes.begin(7, 1));
        assert!(routes.begin(7, 1));
        assert!(!routes.begin(7, 1));
        routes.end(7, 1);
        assert!(routes.begin(7, 1) && routes.begin(8, 1) && routes.begin(7, 2));
        routes.forget(7);
        assert_eq!(routes.under_way.len(), 1);
    }

    #[test]
    fn who_waits_for_any_signal_takes_the_first() {
        let mut routes =
            Routes { waiting: vec![(1, Some(5)), (2, None), (3, Some(4))], ..Routes::default() };
        assert_eq!(routes.take_waiter(4, |worker| worker != 2), Some(3));
        assert_eq!(routes.take_waiter(4, |_| true), Some(2));
        assert_eq!(routes.take_waiter(4, |_| true), None);
        assert_eq!(routes.take_waiter(5, |_| true), Some(1));
    }
}
