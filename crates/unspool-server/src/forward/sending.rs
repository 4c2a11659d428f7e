//! Sending: what is on its way, what became of it, and when the receiver is tried again.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tracing::{debug, error, info, warn};
use unspool_remote::{LinkError, Opened, RemoteError, Session};
use unspool_spool::{
    Attempt, Claim, Claimed, Ending, Link, RelayState, bury_claimed, claim, complete, note_attempt,
    say_relay,
};
use unspool_sys::clock;
use unspool_sys::poll::{Poll, Waker};
use unspool_wire::peer::{Answer, Verdict};

use super::RelaySettings;
use super::moment::Moment;
use super::outbox::{Outbox, Waiting};
use super::passage::passage;

/// Between two tries to reach the receiver: the first, and the most.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// A connection without a task on its way is closed after this: its receiver has its own bound.
const IDLE_WAIT: Duration = Duration::from_secs(20);
/// How long a receiver may take with an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often it is said how many were sent.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// How often what goes wrong for long is logged again.
const COMPLAIN_EVERY: Duration = Duration::from_mins(10);
/// How long answers are waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// When a task is tried again that could not be read, or not be put away; and how often that is logged.
const BROKEN_WAIT: Duration = Duration::from_secs(30);
const BROKEN_SAY_EVERY: Duration = Duration::from_secs(5);

const STOP: u64 = 0;
const HEARD: u64 = 1;
const ANSWERED: u64 = 2;

pub(super) struct Sending<'a> {
    relay: &'a RelaySettings,
    stop: &'a Waker,
    poll: Poll,
    outbox: Outbox<'a>,
    session: Option<Session>,
    /// By their number on the connection.
    on_their_way: HashMap<u32, OnItsWay>,
    /// When something was last sent or answered.
    active_at: Moment,
    tries: Tries,
    state: RelayState,
    /// When it was last said how it is doing, and how many had been sent.
    said: Option<(Moment, u64)>,
    /// When it was last logged that a task is broken.
    broken_said_at: Option<Moment>,
}

struct OnItsWay {
    task: Waiting,
    claim: Claim,
}

/// When the receiver is tried again.
#[derive(Debug, Default)]
struct Tries {
    failed: u32,
    again_at: Option<Moment>,
    complained_at: Option<Moment>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(relay: &'a RelaySettings, stop: &'a Waker) -> io::Result<Self> {
        let outbox = Outbox::open(&relay.outbox, relay.frequency)?;
        let poll = Poll::new()?;
        poll.add(stop.as_fd(), STOP)?;
        poll.add(outbox.watch.changes(), HEARD)?;
        poll.add(outbox.watch.creations(), HEARD)?;
        let state = RelayState::new(&relay.address, now_s());
        say_relay(&relay.outbox, &state)?;
        Ok(Self {
            relay,
            stop,
            poll,
            outbox,
            session: None,
            on_their_way: HashMap::new(),
            active_at: Moment::now(),
            tries: Tries::default(),
            state,
            said: None,
            broken_said_at: None,
        })
    }

    /// Sends until it is told to stop. An error is one of the outbox.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut keys = Vec::new();
        loop {
            self.outbox.hear()?;
            self.receive(Duration::ZERO)?;
            self.fill()?;
            self.close_if_idle();
            self.say(false);
            let wait = self.wakes_at().saturating_duration_since(Moment::now());
            self.poll.wait(&mut keys, Some(wait.as_nanos() as u64))?;
            if keys.contains(&STOP) {
                return self.end();
            }
        }
    }

    fn end(mut self) -> io::Result<()> {
        let until = Moment::now() + LAST_WAIT;
        while !self.on_their_way.is_empty() && self.session.is_some() && Moment::now() < until {
            self.receive(until.saturating_duration_since(Moment::now()))?;
        }
        self.stop.clear();
        self.state.link = Link::Idle;
        self.say(true);
        Ok(())
    }

    fn wakes_at(&self) -> Moment {
        let mut at = self.outbox.wakes_at();
        if let Some(again) = self.tries.again_at {
            // Until then nothing is sent, whatever is heard.
            return again;
        }
        if self.session.is_some() {
            let wait = if self.on_their_way.is_empty() { IDLE_WAIT } else { ANSWER_WAIT };
            at = at.min(self.active_at + wait);
        }
        match self.said {
            Some((said, sent)) if sent != self.state.sent => at.min(said + SAY_EVERY),
            _ => at,
        }
    }

    /// Sends as many as may be on their way.
    fn fill(&mut self) -> io::Result<()> {
        if self.tries.again_at.is_some_and(|at| Moment::now() < at) {
            return Ok(());
        }
        self.tries.again_at = None;
        self.outbox.refresh()?;
        loop {
            if self.session.as_ref().is_some_and(|session| !session.has_room()) {
                return Ok(());
            }
            let Some(task) = self.outbox.next() else { return Ok(()) };
            if !self.connect()? {
                self.outbox.put_back(task);
                return Ok(());
            }
            if let Some(claim) = self.claim(&task)?
                && !self.send(task, claim)?
            {
                return Ok(());
            }
        }
    }

    /// Locks a task; `None` if it does not go now.
    fn claim(&mut self, task: &Waiting) -> io::Result<Option<Claim>> {
        let Some(folder) = self.outbox.folder(task.priority.as_ref())? else { return Ok(None) };
        // One that is due later goes all the same: the receiver waits.
        match claim(&folder, &task.name, i64::MAX) {
            Ok(Claimed::Task(claim)) if self.outbox.is_paused(claim.function.as_deref()) => {
                drop(claim);
                self.outbox.pause(task.clone());
                Ok(None)
            }
            Ok(Claimed::Task(claim)) => Ok(Some(claim)),
            Ok(Claimed::Gone | Claimed::NotATask | Claimed::NotDue(_)) => Ok(None),
            Ok(Claimed::Busy(_) | Claimed::Suspect(_)) => {
                self.outbox.put_off(task.clone());
                Ok(None)
            }
            Err(error) if is_about_this_process(&error) => Err(error),
            Err(error) => {
                self.set_aside(task.clone(), &error);
                Ok(None)
            }
        }
    }

    /// Puts a task aside with which something is wrong here: it holds up no other.
    fn set_aside(&mut self, task: Waiting, error: &io::Error) {
        if self.broken_said_at.is_none_or(|at| at.elapsed() >= BROKEN_SAY_EVERY) {
            self.broken_said_at = Some(Moment::now());
            warn!(
                task = shown(&task),
                outbox = %self.relay.outbox.path().display(),
                %error,
                "a task of an outbox cannot be read, or not be put away; it stays, and is tried again in 30 s"
            );
        }
        self.outbox.put_off_for(task, BROKEN_WAIT);
    }

    /// Sends a task; whether another one may go.
    fn send(&mut self, task: Waiting, claim: Claim) -> io::Result<bool> {
        let passage = match passage(self.relay, &task.name, &claim) {
            Ok(Ok(passage)) => passage,
            Ok(Err(why)) => {
                let text = format!("the task is not sent to `{}`: {why}", self.relay.address);
                self.give_up(task, claim, &text)?;
                return Ok(true);
            }
            Err(error) => {
                drop(claim);
                self.set_aside(task, &error);
                return Ok(true);
            }
        };
        let bytes = passage.bytes;
        let mut reader = passage.reader(&claim.file)?;
        let sent = match &mut self.session {
            Some(session) => session.send(b"", bytes, &mut reader),
            None => Err(LinkError::Closed),
        };
        match sent {
            Ok(number) => {
                self.active_at = Moment::now();
                self.on_their_way.insert(number, OnItsWay { task, claim });
                Ok(true)
            }
            Err(LinkError::Source(error)) => {
                // The receiver waits for the rest of it, so that this connection is of no use any more.
                drop(claim);
                self.close();
                self.set_aside(task, &error);
                Ok(true)
            }
            Err(error) => {
                self.outbox.put_back(task);
                drop(claim);
                self.lose(&error.to_string());
                Ok(false)
            }
        }
    }

    /// Takes answers that are there; the first one is waited for.
    fn receive(&mut self, wait: Duration) -> io::Result<()> {
        let mut wait = wait;
        while let Some(session) = &mut self.session {
            match session.receive(wait) {
                Ok(Some(answer)) => {
                    self.active_at = Moment::now();
                    self.take(answer)?;
                    wait = Duration::ZERO;
                }
                Ok(None) => {
                    let is_late = self.active_at.elapsed() > ANSWER_WAIT;
                    if is_late && !self.on_their_way.is_empty() {
                        self.lose("no answer within 30 s");
                    }
                    return Ok(());
                }
                // The receiver closes connections that are idle.
                Err(error) if error.is_lost() && self.on_their_way.is_empty() => {
                    self.close();
                    self.set(Link::Idle, String::new(), None);
                    return Ok(());
                }
                Err(error) => {
                    self.lose(&error.to_string());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: Answer) -> io::Result<()> {
        let Answer { number, verdict, text } = answer;
        let Some(OnItsWay { task, claim }) = self.on_their_way.remove(&number) else {
            return Ok(());
        };
        match verdict {
            Verdict::Stored | Verdict::Known => {
                self.tries.failed = 0;
                self.state.sent += 1;
                debug!(task = shown(&task), ?verdict, "task sent on");
                let folder = self.outbox.folder(task.priority.as_ref())?;
                // COMMIT POINT: from here on the task is the receiver's alone.
                let done = folder.map_or(Ok(true), |folder| complete(&folder, &task.name));
                if let Err(error) = done {
                    // Sent again it is known there.
                    drop(claim);
                    self.set_aside(task, &error);
                }
                Ok(())
            }
            Verdict::Refused => {
                let text = format!("`{}` refuses the task: {text}", self.relay.address);
                self.give_up(task, claim, &text)
            }
            Verdict::Later => {
                drop(claim);
                self.outbox.put_off(task);
                // What else is on its way may be taken.
                self.rest(&format!("it takes no tasks now: {text}"));
                Ok(())
            }
        }
    }

    /// Buries a task that the receiver will never take.
    fn give_up(&mut self, task: Waiting, claim: Claim, text: &str) -> io::Result<()> {
        error!(task = shown(&task), "a task of a relay is given up: {text}");
        let attempts = claim.attempts.saturating_add(1);
        let attempt = Attempt::ended(Ending::Exception, attempts, clock::now_ns(), text)
            .of_priority(task.priority.as_ref());
        // A record that cannot be written keeps no task from being put away.
        if let Err(error) = note_attempt(&self.relay.outbox, &task.name, &attempt) {
            warn!(task = shown(&task), %error, "the reason cannot be recorded");
        }
        let Some(folder) = self.outbox.folder(task.priority.as_ref())? else { return Ok(()) };
        if let Err(error) = bury_claimed(&self.relay.outbox, &folder, &task.name, &claim.file) {
            drop(claim);
            self.set_aside(task, &error);
        }
        Ok(())
    }

    /// Connects, if there is no connection; `false`: there can be none now.
    fn connect(&mut self) -> io::Result<bool> {
        if self.session.is_some() {
            if self.state.link != Link::Connected {
                self.set(Link::Connected, String::new(), None);
            }
            return Ok(true);
        }
        let why = match Session::open(&self.relay.remote) {
            Ok(Opened::Peer(session)) => {
                self.poll.add(session.socket(), ANSWERED)?;
                if self.tries.failed > 0 || self.state.link == Link::Waiting {
                    info!(address = self.relay.address, "the receiver is back");
                }
                self.session = Some(*session);
                self.active_at = Moment::now();
                self.tries.complained_at = None;
                self.set(Link::Connected, String::new(), None);
                return Ok(true);
            }
            Ok(Opened::Uwsgi) => {
                "it is a uWSGI, which cannot say that a task is stored to stay: run \
                                  unspool there, or submit to it directly (`spooler=ADDRESS`)"
                    .to_owned()
            }
            Err(error) => with_causes(&error),
        };
        self.rest(&why);
        Ok(false)
    }

    /// The connection failed: what is on its way may have arrived, and is sent again.
    fn lose(&mut self, why: &str) {
        self.close();
        self.rest(&format!("the connection was lost: {why}"));
    }

    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            // It goes with its descriptor in any case.
            let _ = self.poll.remove(session.socket());
        }
        for (_, OnItsWay { task, claim }) in self.on_their_way.drain() {
            drop(claim);
            self.outbox.put_back(task);
        }
    }

    fn close_if_idle(&mut self) {
        let is_idle = self.on_their_way.is_empty() && self.active_at.elapsed() >= IDLE_WAIT;
        if self.session.is_some() && is_idle {
            self.close();
            self.set(Link::Idle, String::new(), None);
        }
    }

    /// Nothing goes for a while.
    fn rest(&mut self, why: &str) {
        // Many tasks that were on their way may be told the same.
        if self.tries.again_at.is_some_and(|at| Moment::now() < at) {
            return;
        }
        let wait = backoff(self.tries.failed);
        self.tries.failed = self.tries.failed.saturating_add(1);
        self.tries.again_at = Some(Moment::now() + wait);
        let complains = self.tries.complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY);
        if complains {
            self.tries.complained_at = Some(Moment::now());
            let (address, outbox) = (&self.relay.address, self.relay.outbox.path().display());
            warn!(address, %outbox, "tasks wait in their outbox: {why}");
        }
        self.set(Link::Waiting, why.to_owned(), Some(now_s() + wait.as_secs_f64()));
    }

    fn set(&mut self, link: Link, error: String, again_at: Option<f64>) {
        if self.state.link != link {
            self.state.since = now_s();
        }
        self.state.link = link;
        self.state.error = error;
        self.state.again_at = again_at;
        self.say(true);
    }

    /// Says how it is doing, now or when it is time.
    fn say(&mut self, now: bool) {
        let is_time =
            self.said.is_none_or(|(at, sent)| sent != self.state.sent && at.elapsed() >= SAY_EVERY);
        if !now && !is_time {
            return;
        }
        self.said = Some((Moment::now(), self.state.sent));
        // A full disk keeps nobody from sending, which frees it.
        if let Err(error) = say_relay(&self.relay.outbox, &self.state) {
            debug!(%error, "the state of a relay cannot be written");
        }
    }
}

/// Whether no other task could be opened either.
fn is_about_this_process(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOMEM))
}

const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Half of it at least: so that those who lost one receiver do not come back at once.
fn backoff(failed: u32) -> Duration {
    let whole = BACKOFF_MIN.saturating_mul(1 << failed.min(10)).min(BACKOFF_MAX);
    let random = unspool_sys::host::random::<1>().map_or(128, |[byte]| byte);
    whole / 2 + whole / 2 * u32::from(random) / 255
}

fn now_s() -> f64 {
    clock::now_ns() as f64 / 1e9
}

fn shown(task: &Waiting) -> String {
    let name = String::from_utf8_lossy(&task.name);
    match &task.priority {
        None => name.into_owned(),
        Some(priority) => format!("{}/{name}", String::from_utf8_lossy(priority.as_bytes())),
    }
}

fn with_causes(error: &RemoteError) -> String {
    crate::network::with_causes(error)
}
