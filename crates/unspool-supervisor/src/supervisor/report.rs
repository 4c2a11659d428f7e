//! Answers to those who ask how the daemon is.
//!
//! In rounds: a round asks each dispatcher once and ends when all have answered, or at its bound
//! with the last answer of whoever has not. Whoever asks meanwhile gets the next round's, so that
//! however many ask, a dispatcher has one question at a time.

use std::path::PathBuf;
use std::sync::Arc;

use unspool_sys::process::Child;
use unspool_sys::{clock, host};
use unspool_wire::control::Role;

use super::Supervisor;
use crate::events::ToDispatcher;
use crate::inquiry::{INQUIRIES_MAX, Inquiries, Reply};
use crate::snapshot::{Snapshot, SpoolSnapshot, StatusSnapshot, WorkerSnapshot};

/// How long a round waits for the dispatchers.
const ROUND_NS_MAX: u64 = 250_000_000;

/// Who asks, and what the dispatchers said last.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    inquiries: Option<Inquiries>,
    /// They get the answer of the round that runs.
    waiting: Vec<Asker>,
    /// They get that of the next one.
    queued: Vec<Asker>,
    /// When the round that runs ends at the latest.
    until_ns: Option<u64>,
    accounts: Vec<Account>,
    started_at: i64,
    /// Of the configuration.
    config_files: Vec<PathBuf>,
}

/// Who asks.
#[derive(Debug)]
enum Asker {
    /// Another thread, for everything.
    Inquirer(Reply),
    /// A connection to the control socket of a spool, for that one.
    Client { client: u32, spool: usize },
}

/// What a dispatcher said.
#[derive(Debug, Default)]
struct Account {
    /// The last one, and when it came.
    last: Option<(SpoolSnapshot, u64)>,
    /// It was asked and has not answered.
    asked: bool,
    /// The round that runs waits for it.
    awaited: bool,
}

impl Reporting {
    pub(super) fn new(
        inquiries: Option<Inquiries>,
        config_files: Vec<PathBuf>,
        spools: usize,
    ) -> Self {
        Self {
            inquiries,
            config_files,
            accounts: (0..spools).map(|_| Account::default()).collect(),
            started_at: clock::now_ns().div_euclid(1_000_000_000),
            ..Self::default()
        }
    }

    /// When the round that runs ends at the latest.
    pub(super) fn until_ns(&self) -> Option<u64> {
        self.until_ns
    }

    /// Takes in who asks, as many as there is room for.
    fn read(&mut self) {
        let Some(inquiries) = &self.inquiries else { return };
        inquiries.clear();
        while let Some(reply) = inquiries.next() {
            if self.queued.len() < INQUIRIES_MAX {
                self.queued.push(Asker::Inquirer(reply));
            }
        }
    }

    /// A client asks about a spool. There are no more of them than connections.
    pub(super) fn ask(&mut self, client: u32, spool: usize) {
        self.queued.push(Asker::Client { client, spool });
    }

    /// Begins a round if somebody waits for one. Returns the spools to ask: those that have not
    /// answered the last question are neither asked nor waited for.
    fn begin(&mut self, now_ns: u64) -> Option<Vec<usize>> {
        if self.until_ns.is_some() || self.queued.is_empty() {
            return None;
        }
        self.waiting = std::mem::take(&mut self.queued);
        self.until_ns = Some(now_ns + ROUND_NS_MAX);
        let idle = self.accounts.iter_mut().enumerate().filter(|(_, account)| !account.asked);
        let asked = idle.map(|(spool, account)| {
            (account.asked, account.awaited) = (true, true);
            spool
        });
        Some(asked.collect())
    }

    /// A dispatcher cannot be asked.
    fn deaf(&mut self, spool: usize) {
        if let Some(account) = self.accounts.get_mut(spool) {
            (account.asked, account.awaited) = (false, false);
        }
    }

    fn answered(&mut self, spool: usize, snapshot: SpoolSnapshot, now_ns: u64) {
        self.deaf(spool);
        if let Some(account) = self.accounts.get_mut(spool) {
            account.last = Some((snapshot, now_ns));
        }
    }

    /// Who gets the answer, if the round that runs is over.
    fn end(&mut self, now_ns: u64) -> Option<Vec<Asker>> {
        let until_ns = self.until_ns?;
        if now_ns < until_ns && self.accounts.iter().any(|account| account.awaited) {
            return None;
        }
        self.until_ns = None;
        for account in &mut self.accounts {
            account.awaited = false;
        }
        Some(std::mem::take(&mut self.waiting))
    }

    fn last(&self, spool: usize, now_ns: u64) -> SpoolSnapshot {
        let last = self.accounts.get(spool).and_then(|account| account.last.as_ref());
        last.map_or_else(SpoolSnapshot::default, |(snapshot, at_ns)| SpoolSnapshot {
            age_ms: Some(now_ns.saturating_sub(*at_ns) / 1_000_000),
            ..snapshot.clone()
        })
    }
}

impl Supervisor {
    /// Somebody outside of the supervisor asks.
    pub(super) fn read_inquiries(&mut self) {
        self.reporting.read();
        self.go_on_reporting();
    }

    /// A dispatcher has answered.
    pub(super) fn reported(&mut self, spool: usize, snapshot: SpoolSnapshot) {
        self.reporting.answered(spool, snapshot, clock::monotonic_ns());
    }

    /// Ends the round that is over, begins the next one.
    pub(super) fn go_on_reporting(&mut self) {
        // Without spools, a round ends as it begins.
        for _ in 0..2 {
            let now_ns = clock::monotonic_ns();
            if let Some(askers) = self.reporting.end(now_ns) {
                self.answer_askers(askers, now_ns);
            }
            for spool in self.reporting.begin(now_ns).unwrap_or_default() {
                let asked = self.spools.get(spool).filter(|actor| !actor.ended);
                if !asked.is_some_and(|actor| actor.tell(ToDispatcher::Report)) {
                    self.reporting.deaf(spool);
                }
            }
        }
    }

    fn answer_askers(&mut self, askers: Vec<Asker>, now_ns: u64) {
        let mut whole = None;
        for asker in askers {
            match asker {
                Asker::Inquirer(reply) => {
                    let snapshot = whole.get_or_insert_with(|| Arc::new(self.snapshot(now_ns)));
                    reply.send(Arc::clone(snapshot));
                }
                Asker::Client { client, spool } => {
                    let status = self.status(spool, now_ns);
                    self.answer_with(client, &status);
                }
            }
        }
    }

    /// What is told by the control socket of a spool.
    fn status(&self, spool: usize, now_ns: u64) -> StatusSnapshot {
        StatusSnapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: host::pid(),
            started_at: self.reporting.started_at,
            stopping: self.ladder.is_some(),
            importing: self.next_zygote.is_some(),
            generation: self.generation,
            config_files: self.reporting.config_files.clone(),
            functions: self.imports.functions().to_vec(),
            import_failure: self.imports.last().cloned(),
            spool: self.spool_snapshot(spool, now_ns),
        }
    }

    fn snapshot(&self, now_ns: u64) -> Snapshot {
        let (timers, crons) = self.schedule.account(now_ns);
        let signal_workers = self.workers.values().filter(|worker| worker.role == Role::Signal);
        let pids = signal_workers.filter_map(|worker| worker.child.as_ref()).map(Child::pid);
        Snapshot {
            pid: host::pid(),
            started_at: self.reporting.started_at,
            stopping: self.ladder.is_some(),
            importing: self.next_zygote.is_some(),
            generation: self.generation,
            zygote: self.zygote.as_ref().map(|zygote| zygote.child.pid()),
            ticks: self.ticks.account(pids.collect()),
            mules: self.mule_snapshots(now_ns),
            web: self.web_snapshots(now_ns),
            web_sockets: self.web_socket_snapshots(),
            timers,
            crons,
            leads: self.leader.standing(),
            cron_commands: self.crons.account(),
            daemons: self.attached.account(),
            spools: (0..self.spools.len())
                .map(|spool| self.spool_snapshot(spool, now_ns))
                .collect(),
        }
    }

    /// What the dispatcher said, and what is known here of the processes.
    fn spool_snapshot(&self, spool: usize, now_ns: u64) -> SpoolSnapshot {
        let actor = &self.spools[spool];
        let mut snapshot = self.reporting.last(spool, now_ns);
        actor.path.clone_into(&mut snapshot.dir);
        snapshot.processes = actor.wanted_most();
        let said = std::mem::take(&mut snapshot.workers);
        let own = self.workers.iter().filter(|(_, w)| w.role == Role::Spool && w.spool == spool);
        snapshot.workers = own
            .map(|(id, worker)| {
                let said = said.iter().find(|said| said.id == *id).cloned().unwrap_or_default();
                let respawns = worker.row.and_then(|row| actor.respawns.get(row)).copied();
                WorkerSnapshot {
                    id: *id,
                    pid: worker.child.as_ref().map_or(0, Child::pid),
                    generation: worker.generation,
                    // It may serve before the zygote has said which process it is.
                    ready: said.ready && worker.child.is_some(),
                    started_at: worker.asked_at,
                    respawns: respawns.unwrap_or_default(),
                    ..said
                }
            })
            .collect();
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker() -> Asker {
        Asker::Inquirer(reply())
    }

    fn reply() -> Reply {
        Reply::new(|_| ())
    }

    fn done(count: u64) -> SpoolSnapshot {
        let mut snapshot = SpoolSnapshot::default();
        snapshot.outcomes.done = count;
        snapshot
    }

    #[test]
    fn a_round_ends_with_the_last_answer() {
        let mut reporting = Reporting::new(None, Vec::new(), 2);
        assert_eq!(reporting.begin(0), None);
        reporting.queued.push(asker());
        assert_eq!(reporting.begin(0), Some(vec![0, 1]));
        // Who asks now waits for the next round.
        reporting.queued.push(asker());
        assert_eq!(reporting.begin(1), None);
        reporting.answered(1, done(3), 1);
        assert!(reporting.end(1).is_none());
        reporting.answered(0, done(4), 2);
        assert_eq!(reporting.end(2).unwrap().len(), 1);
        assert_eq!(reporting.begin(3), Some(vec![0, 1]));
    }

    #[test]
    fn a_dispatcher_that_hangs_has_one_question_and_its_last_answer_counts() {
        let mut reporting = Reporting::new(None, Vec::new(), 2);
        reporting.queued.push(asker());
        reporting.begin(0);
        reporting.answered(0, done(1), 5);
        reporting.answered(1, done(2), 5);
        assert!(reporting.end(5).is_some());
        reporting.queued.push(asker());
        reporting.begin(10);
        reporting.answered(1, done(7), 11);
        assert!(reporting.end(12).is_none());
        assert_eq!(reporting.end(10 + ROUND_NS_MAX).unwrap().len(), 1);
        let now_ns = 5 + 9_000_000;
        let last = reporting.last(0, now_ns);
        assert_eq!((last.outcomes.done, last.age_ms), (1, Some(9)));
        // The next round does not wait for it.
        reporting.queued.push(asker());
        assert_eq!(reporting.begin(now_ns), Some(vec![1]));
        reporting.answered(1, done(8), now_ns);
        assert!(reporting.end(now_ns).is_some());
        // It has woken up: it is asked again.
        reporting.answered(0, done(2), now_ns);
        reporting.queued.push(asker());
        assert_eq!(reporting.begin(now_ns), Some(vec![0, 1]));
    }

    #[test]
    fn more_inquiries_than_there_is_room_for_are_dropped() {
        let (inquirer, inquiries) = crate::inquiry::inquiries().unwrap();
        let mut reporting = Reporting::new(Some(inquiries), Vec::new(), 0);
        for _ in 0..2 {
            for _ in 0..INQUIRIES_MAX {
                assert!(inquirer.ask(reply()));
            }
            assert!(!inquirer.ask(reply()));
            reporting.read();
            assert_eq!(reporting.queued.len(), INQUIRIES_MAX);
        }
    }
}
