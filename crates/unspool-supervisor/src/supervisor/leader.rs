//! Which of the daemons of one configuration fires crons and timers.
//!
//! A thread of its own holds the lock and writes down each minute before its crons run, since the
//! supervisor does no file I/O. It is asked, and answers within a bound or is not waited for: a cron
//! that runs twice is better than one that a stalled file system keeps from running at all. What is
//! stored, and where, is `unspool_spool::schedule`'s matter.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{debug, warn};
use unspool_spool::{SchedulePlace, ScheduleStore};
use unspool_sys::clock;
use unspool_wire::schedule::TimerPause;

use super::Supervisor;
use super::schedule::{Due, Firing, Tick};
use crate::dispatcher::Outbox;
use crate::events::ToSupervisor;
use crate::journal::journal;

/// How long an answer is waited for.
const ANSWER_NS_MAX: u64 = 5_000_000_000;
/// How often one that does not lead looks whether it can, and one that does whether its files are
/// there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Requests that wait: a minute each.
const REQUESTS_MAX: usize = 8;

#[derive(Debug)]
enum Request {
    /// Take this minute.
    Take(i64),
    /// Write down what is paused from now on, and answer who asked.
    Change { client: u32, change: Change },
    /// Let another daemon lead.
    Resign,
}

/// What is paused, or not any more.
#[derive(Debug)]
pub(super) enum Change {
    Pause(TimerPause),
    Resume(String),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Leader {
    /// Until the thread is started.
    start: Option<(SchedulePlace, Outbox)>,
    /// What tells the configuration from others.
    key: String,
    requests: Option<SyncSender<Request>>,
    /// `None` until the thread has said so.
    leads: Option<bool>,
    /// When it is taken to lead though it has not said so.
    unknown_until_ns: Option<u64>,
    /// Timers that were due before it was known, and before it was known what is paused.
    held: BTreeSet<Tick>,
    /// The minute that is being taken, what is due in it, and when that runs in any case.
    taking: Option<(i64, Vec<Firing>, u64)>,
}

impl Leader {
    pub(super) fn new(place: SchedulePlace, outbox: Outbox) -> Self {
        Self {
            key: place.key().to_owned(),
            start: Some((place, outbox)),
            requests: None,
            leads: None,
            unknown_until_ns: None,
            held: BTreeSet::new(),
            taking: None,
        }
    }

    /// There is something to fire: starts the thread, the first time.
    fn ensure(&mut self) {
        let Some((place, outbox)) = self.start.take() else { return };
        let (sender, requests) = sync_channel(REQUESTS_MAX);
        let started = std::thread::Builder::new()
            .name("schedule".to_owned())
            .spawn(move || Keeper::new(place, outbox).run(&requests));
        match started {
            Ok(_) => {
                self.requests = Some(sender);
                self.unknown_until_ns = Some(clock::monotonic_ns() + ANSWER_NS_MAX);
            }
            Err(error) => {
                warn!(%error, "cannot tell whether another daemon fires crons and timers");
                self.leads = Some(true);
            }
        }
    }

    /// Until when something is waited for.
    pub(super) fn until_ns(&self) -> Option<u64> {
        let taking = self.taking.as_ref().map(|taking| taking.2);
        [taking, self.unknown_until_ns].into_iter().flatten().min()
    }

    /// Which configuration's daemons it is about.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether this daemon fires; `None` if it is not known, or there is nothing to fire.
    pub(super) fn standing(&self) -> Option<bool> {
        self.leads
    }

    /// Asks for a pause to be written down. `false` if nobody can be asked.
    pub(super) fn change(&mut self, client: u32, change: Change) -> bool {
        self.ensure();
        self.requests
            .as_ref()
            .is_some_and(|r| r.try_send(Request::Change { client, change }).is_ok())
    }

    /// Asks for a minute. `false` if nobody can be asked: what is due in it runs at once.
    fn take(&mut self, minute: i64) -> bool {
        self.requests.as_ref().is_some_and(|r| r.try_send(Request::Take(minute)).is_ok())
    }
}

impl Supervisor {
    /// Fires what is due, or asks whether it may.
    pub(super) fn raise_due_ticks(&mut self) {
        if self.ladder.is_some() {
            return;
        }
        // Also for what this daemon alone has: the thread knows what is paused.
        if self.schedule.has_any() {
            self.leader.ensure();
        }
        self.stop_waiting_for_leader();
        let own = self.schedule.look(clock::now_ns());
        self.fire(own);
        if self.leader.leads == Some(true)
            && let Some(minute) = self.schedule.decide()
        {
            self.take_minute(minute);
        }
        if self.zygote.is_some() {
            for tick in self.schedule.due_timers(clock::monotonic_ns()) {
                match self.leader.leads {
                    Some(false) if !tick.own => {}
                    None => {
                        self.leader.held.insert(tick);
                    }
                    Some(_) => {
                        self.schedule.note(&tick.id);
                        self.raise(tick.signal);
                    }
                }
            }
        }
        self.arm_wall();
    }

    fn take_minute(&mut self, minute: i64) {
        let due = self.schedule.matching(minute);
        if due.is_empty() {
            return;
        }
        if self.leader.take(minute) {
            let by_ns = clock::monotonic_ns() + ANSWER_NS_MAX;
            self.leader.taking = Some((minute, due, by_ns));
        } else {
            self.fire(due);
        }
    }

    /// The thread has become the one that leads, or is none any more.
    pub(super) fn leads(&mut self, leads: bool) {
        self.leader.unknown_until_ns = None;
        if self.leader.leads == Some(leads) {
            return;
        }
        let held = std::mem::take(&mut self.leader.held);
        self.leader.leads = Some(leads);
        // What is paused was said before.
        let mut fires = held;
        fires.retain(|tick| (leads || tick.own) && !self.schedule.paused.contains_key(&tick.id));
        for tick in fires {
            self.schedule.note(&tick.id);
            self.raise(tick.signal);
        }
        if leads {
            journal!(SCHEDULE_TAKEN, "this daemon fires crons and timers");
        } else {
            journal!(
                SCHEDULE_ELSEWHERE,
                "another daemon of this configuration fires crons and timers; this one does once \
                 that has ended"
            );
        }
    }

    /// The thread has an answer about a minute.
    pub(super) fn minute_taken(&mut self, minute: i64, taken: io::Result<bool>) {
        if self.leader.taking.as_ref().is_none_or(|taking| taking.0 != minute) {
            return;
        }
        let Some((_, due, _)) = self.leader.taking.take() else { return };
        match taken {
            Ok(true) => self.fire(due),
            Ok(false) => debug!(minute, "the crons of this minute were fired already"),
            Err(error) => {
                warn!(
                    %error,
                    "cannot write down that crons run now: a daemon that is started within this \
                     minute would run them again"
                );
                self.fire(due);
            }
        }
    }

    fn stop_waiting_for_leader(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.leader.unknown_until_ns.is_some_and(|by_ns| by_ns <= now_ns) {
            warn!("the folder of the schedule does not answer: firing crons and timers without it");
            self.leads(true);
        }
        if self.leader.taking.as_ref().is_some_and(|taking| taking.2 <= now_ns)
            && let Some((minute, ..)) = self.leader.taking
        {
            self.minute_taken(minute, Err(io::ErrorKind::TimedOut.into()));
        }
    }

    fn fire(&mut self, due: Vec<Firing>) {
        for firing in due {
            if self.ladder.is_none() {
                self.fire_one(&firing);
            }
        }
    }

    pub(super) fn fire_one(&mut self, firing: &Firing) {
        self.schedule.note(&firing.id);
        match firing.due {
            Due::Signal(signal) => self.raise(signal),
            Due::Command(number) => self.start_cron(number),
        }
    }

    /// The daemon stops: another one may fire from now on.
    pub(super) fn resign(&mut self) {
        if let Some(requests) = &self.leader.requests {
            // A full queue is one that a stalled file system keeps from moving: the end of the
            // process resigns as well.
            let _ = requests.try_send(Request::Resign);
        }
        self.leader.leads = Some(false);
        self.leader.taking = None;
        self.leader.unknown_until_ns = None;
    }
}

/// The thread.
#[derive(Debug)]
struct Keeper {
    place: SchedulePlace,
    outbox: Outbox,
    store: Option<ScheduleStore>,
    leads: Option<bool>,
    /// What was last said of what is paused.
    paused: Vec<TimerPause>,
    said: bool,
}

impl Keeper {
    fn new(place: SchedulePlace, outbox: Outbox) -> Self {
        Self { place, outbox, store: None, leads: None, paused: Vec::new(), said: false }
    }

    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            self.look();
            match requests.recv_timeout(LOOK_EVERY) {
                Ok(Request::Take(minute)) => {
                    let taken = self.take(minute);
                    self.outbox.send(ToSupervisor::Minute { minute, taken });
                }
                Ok(Request::Change { client, change }) => self.change(client, change),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Request::Resign) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Leads if it can, and says when that changed.
    fn look(&mut self) {
        let leads = match self.try_to_lead() {
            Ok(leads) => leads,
            Err(error) => {
                if self.leads.is_none() {
                    warn!(
                        %error,
                        "no place to write down which crons have run: every daemon of this \
                         configuration fires them"
                    );
                }
                // Also one that led and lost its place goes on.
                self.store = None;
                true
            }
        };
        // Before it fires, it has to know what does not.
        self.look_for_pauses();
        if self.leads != Some(leads) {
            self.leads = Some(leads);
            self.outbox.send(ToSupervisor::Leads(leads));
        }
    }

    /// Another daemon, or a command without one, may have changed them.
    fn look_for_pauses(&mut self) {
        let Some(store) = &mut self.store else { return };
        match store.paused_if_changed() {
            Ok(None) => {}
            Ok(Some(paused)) if paused == self.paused => {}
            Ok(Some(paused)) => {
                self.paused.clone_from(&paused);
                self.outbox.send(ToSupervisor::Paused { paused, answer: None });
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    warn!(%error, "cannot read which timers and crons are paused");
                }
            }
        }
    }

    fn change(&mut self, client: u32, change: Change) {
        self.look();
        let changed = match &self.store {
            None => Err("there is no place to write it down".to_owned()),
            Some(store) => match change {
                Change::Pause(pause) => store.pause(pause),
                Change::Resume(id) => store.resume(&id),
            }
            .map_err(|error| format!("it cannot be written down: {error}")),
        };
        let answer = match changed {
            Ok(paused) => {
                self.paused = paused;
                Ok(())
            }
            Err(error) => Err(error),
        };
        let paused = self.paused.clone();
        self.outbox.send(ToSupervisor::Paused { paused, answer: Some((client, answer)) });
    }

    fn try_to_lead(&mut self) -> io::Result<bool> {
        if let Some(store) = self.store.take_if(|store| !store.is_in_place()) {
            drop(store);
            warn!("the folder of the schedule was removed or replaced; making it again");
        }
        let store = match self.store.take() {
            Some(store) => store,
            None => self.place.open()?,
        };
        let leads = store.lead();
        self.store = Some(store);
        leads
    }

    fn take(&mut self, minute: i64) -> io::Result<bool> {
        self.look();
        match &self.store {
            Some(store) if self.leads == Some(true) => store.take(minute),
            // Another daemon was faster in a folder that was made again: the minute is its.
            Some(_) => Ok(false),
            None => Err(io::Error::other("there is no place for it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use unspool_sys::poll::Waker;

    use super::*;

    struct Asked {
        requests: Option<SyncSender<Request>>,
        answers: Receiver<ToSupervisor>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Asked {
        fn start(folder: &std::path::Path) -> Self {
            let place = SchedulePlace::in_state(
                vec![folder.to_owned()],
                PathBuf::from("/nowhere"),
                "key".to_owned(),
            );
            let (sender, answers) = sync_channel(16);
            let outbox = Outbox { sender, waker: Arc::new(Waker::new().unwrap()) };
            let (requests, asked) = sync_channel(REQUESTS_MAX);
            let keeper = Keeper::new(place, outbox);
            let thread = std::thread::spawn(move || keeper.run(&asked));
            Self { requests: Some(requests), answers, thread: Some(thread) }
        }

        fn answer(&self) -> ToSupervisor {
            self.answers.recv_timeout(Duration::from_secs(20)).unwrap()
        }

        fn leads(&self) -> bool {
            match self.answer() {
                ToSupervisor::Leads(leads) => leads,
                other => panic!("{other:?}"),
            }
        }

        fn take(&self, minute: i64) -> bool {
            self.requests.as_ref().unwrap().send(Request::Take(minute)).unwrap();
            loop {
                match self.answer() {
                    ToSupervisor::Minute { minute: about, taken } => {
                        assert_eq!(about, minute);
                        return taken.unwrap();
                    }
                    ToSupervisor::Leads(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }

        fn end(mut self) {
            drop(self.requests.take());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn one_of_two_leads_and_the_other_follows_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Asked::start(folder.path());
        assert!(first.leads());
        let second = Asked::start(folder.path());
        assert!(!second.leads());
        assert!(first.take(100));
        assert!(!first.take(100));
        assert!(!second.take(101));
        first.end();
        assert!(second.leads());
        // The first one has fired that minute.
        assert!(!second.take(100));
        assert!(second.take(101));
        // A clock that steps back by an hour fires nothing again; one that was far off does.
        assert!(!second.take(41));
        assert!(second.take(40));
        second.end();
        // Nor does a restart.
        let third = Asked::start(folder.path());
        assert!(third.leads());
        assert!(!third.take(40));
        third.end();
    }

    #[test]
    fn a_removed_folder_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let one = Asked::start(folder.path());
        assert!(one.leads());
        assert!(one.take(7));
        std::fs::remove_dir_all(folder.path().join("schedule")).unwrap();
        assert!(one.take(8));
        assert!(folder.path().join("schedule/key/fired").exists());
        one.end();
    }

    #[test]
    fn without_a_place_it_leads_and_says_that_nothing_is_kept() {
        let one = Asked::start(std::path::Path::new("/proc/no/such"));
        assert!(one.leads());
        one.requests.as_ref().unwrap().send(Request::Take(1)).unwrap();
        match one.answer() {
            ToSupervisor::Minute { taken: Err(_), .. } => {}
            other => panic!("{other:?}"),
        }
        one.end();
    }
}
