//! What is known of a task: from its file, its record and its spool, and from the daemons that run that.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use unspool_core::due::parse_at;
use unspool_core::limits::TASK_BYTES_MAX;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{KEY_AT, Malformed, TaskFile};
use unspool_core::{Message, Priority, RetryPolicy};
use unspool_spool::{
    Adoption, Asked, Attempt, Listed, Pauses, RecordError, Refused, RelayState, Runner, SpoolView,
    TaskState, TaskSummary, Trust, Verdict, Whereabouts, ask_documents, listed, runner,
};
use unspool_supervisor::explanation::{Explanation, KnownTask, Standing};
use unspool_supervisor::snapshot::StatusSnapshot;
use unspool_sys::clock;
use unspool_sys::lock::{self, Holder};

use crate::logging::with_causes;
use crate::tasks::{Looked, failed, shown_attempts};

/// How long a daemon may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a task is looked at whose lock is nobody's: a daemon that looks at a file has it for a moment.
const LOOKS_MAX: u32 = 5;
/// Between two such looks.
const LOOK_AGAIN_WAIT: Duration = Duration::from_millis(20);
/// Longer files are not read to see what is wrong with them.
const READ_BYTES_MAX: u64 = 64 << 20;

/// What the configuration says, if one was named.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) keys: Option<Arc<Keyring>>,
    pub(crate) unsigned_uids: Vec<u32>,
    pub(crate) retry: Option<RetryPolicy>,
}

/// A daemon that runs the spool.
#[derive(Debug)]
pub(crate) struct DaemonView {
    pub(crate) pid: u32,
    /// How it is, or why it does not say.
    pub(crate) status: Result<StatusSnapshot, String>,
    /// What it knows of the task.
    pub(crate) explanation: Option<Explanation>,
}

impl DaemonView {
    pub(crate) fn task(&self) -> Option<&KnownTask> {
        self.explanation.as_ref().and_then(|explanation| explanation.task.as_ref())
    }
}

/// What is known of a task.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) now_ns: i64,
    pub(crate) path: PathBuf,
    pub(crate) summary: TaskSummary,
    /// Its failed attempts, the oldest first.
    pub(crate) attempts: Vec<Attempt>,
    /// What of their record cannot be read.
    pub(crate) unrecorded: Vec<RecordError>,
    /// What is paused, or why that is not known.
    pub(crate) pauses: Result<Pauses, String>,
    /// An old one of a uWSGI's that nobody has decided to run; whether it was decided to hold it.
    pub(crate) adoption: Option<bool>,
    /// Why it is not known which tasks are held.
    pub(crate) adoption_problem: Option<String>,
    pub(crate) holder: Holder,
    /// The worker that has noted that it runs it, where the lock names nobody.
    pub(crate) runner: Option<Runner>,
    /// What is wrong with the bytes of its file; they are looked at where something may be.
    pub(crate) damage: Option<Malformed>,
    /// Why it may not run, by the keys of the configuration.
    pub(crate) refusal: Option<Refused>,
    /// When it was to run by its content, in nanoseconds since 1970.
    pub(crate) wanted_ns: Option<i64>,
    pub(crate) policy: RetryPolicy,
    pub(crate) daemons: Vec<DaemonView>,
    /// Of an outbox what sends its tasks on, and whether that lives.
    pub(crate) relay: Option<(RelayState, bool)>,
}

fn noted(view: &SpoolView, holder: Holder, seen: &TaskSummary) -> io::Result<Option<Runner>> {
    if holder == Holder::Unnamed { runner(view, &seen.stat) } else { Ok(None) }
}

impl Facts {
    /// Gathers all; `None` if the task is gone.
    pub(crate) fn gather(
        spool: &Looked,
        task: &Whereabouts,
        setup: &Setup,
    ) -> io::Result<Option<Self>> {
        let mut looks = 1;
        loop {
            let facts = Self::look(spool, task, setup)?;
            if looks == LOOKS_MAX || !facts.as_ref().is_some_and(Self::are_of_two_moments) {
                return Ok(facts);
            }
            looks += 1;
            clock::pause(LOOK_AGAIN_WAIT);
        }
    }

    /// Whether a lock was seen that all daemons say not to have.
    fn are_of_two_moments(&self) -> bool {
        self.holder == Holder::Unnamed
            && !self.daemons.is_empty()
            && self.daemons.iter().all(|daemon| daemon.explanation.is_some())
            && !self.known().any(|(_, task)| task.standing == Standing::Claimed)
    }

    fn look(spool: &Looked, task: &Whereabouts, setup: &Setup) -> io::Result<Option<Self>> {
        let (now_ns, view) = (clock::now_ns(), &spool.view);
        let Some(file) = listed(view, task)? else { return Ok(None) };
        let Some(summary) = spool.inspect(&file, now_ns)? else { return Ok(None) };
        // Asked after the file was looked at: what it has become since then, the daemon knows.
        let daemons = match task {
            Whereabouts::Pending(place) => ask_daemons(view, &place.relative()),
            Whereabouts::Kept(..) => Vec::new(),
        };
        let (holder, content) = if summary.readable {
            let open = file.open()?;
            let holder = open.as_ref().map(|open| lock::holder(open.as_fd())).transpose()?;
            (holder.unwrap_or(Holder::Nobody), Content::read(&file, &summary, setup)?)
        } else {
            // Whose lock it is, its file would tell.
            let is_locked = summary.state == TaskState::Running;
            let holder = if is_locked { Holder::Unnamed } else { Holder::Nobody };
            (holder, Content::default())
        };
        let (attempts, unrecorded) = shown_attempts(view, task.name());
        let known = spool.adoption.as_ref();
        let policy = policy(setup, &daemons).with(&summary.policy);
        Ok(Some(Self {
            now_ns,
            path: task.path(view),
            attempts,
            unrecorded,
            pauses: spool.pauses.as_ref().map(Clone::clone).map_err(|error| with_causes(error)),
            adoption: adoption(known.ok().and_then(Option::as_ref), &summary, &daemons),
            adoption_problem: known.err().map(|error| with_causes(error)),
            runner: noted(view, holder, &summary)?,
            holder,
            damage: content.damage,
            refusal: content.refusal,
            wanted_ns: content.wanted_ns,
            policy,
            daemons,
            relay: spool.relay.clone(),
            summary,
        }))
    }

    /// How often it failed: of one that was given up its record alone says it.
    pub(crate) fn failed(&self) -> u32 {
        failed(&self.summary, self.attempts.last())
    }

    /// The function, for people.
    pub(crate) fn function(&self) -> Option<String> {
        let name = self.summary.function.as_deref()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The folder of a pending task.
    pub(crate) fn priority(&self) -> Option<&Priority> {
        match &self.summary.whereabouts {
            Whereabouts::Pending(place) => place.priority.as_ref(),
            Whereabouts::Kept(..) => None,
        }
    }

    /// What the daemons know of it.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&DaemonView, &KnownTask)> {
        self.daemons.iter().filter_map(|daemon| Some((daemon, daemon.task()?)))
    }
}

/// What a look at the bytes tells.
#[derive(Debug, Default)]
struct Content {
    damage: Option<Malformed>,
    refusal: Option<Refused>,
    wanted_ns: Option<i64>,
}

impl Content {
    fn read(file: &Listed, summary: &TaskSummary, setup: &Setup) -> io::Result<Self> {
        if summary.stat.bytes > TASK_BYTES_MAX {
            let damage = Some(Malformed::Long { bytes: summary.stat.bytes });
            return Ok(Self { damage, ..Self::default() });
        }
        if summary.stat.bytes > READ_BYTES_MAX {
            return Ok(Self::default());
        }
        let Some((stat, bytes)) = file.read()? else { return Ok(Self::default()) };
        let trust = Trust {
            keys: setup.keys.clone(),
            unsigned_uids: setup.unsigned_uids.clone(),
            network_pickle: false,
        };
        let refusal = trust.admit(&bytes, &stat).err();
        let (damage, wanted_ns) = match TaskFile::parse(&bytes) {
            Ok(task) => (None, wanted_ns(&task.to_message())),
            Err(damage) => (Some(damage), None),
        };
        Ok(Self { damage, refusal, wanted_ns })
    }
}

fn wanted_ns(message: &Message) -> Option<i64> {
    parse_at(message.get(KEY_AT)?).ok().flatten()
}

fn policy(setup: &Setup, daemons: &[DaemonView]) -> RetryPolicy {
    let said = daemons.iter().find_map(|daemon| daemon.explanation.as_ref());
    let base = setup.retry.unwrap_or_else(|| RetryPolicy::new(0));
    said.map_or(base, |said| RetryPolicy {
        attempts_max: said.dispatch.attempts_max,
        deaths_max: said.dispatch.deaths_max,
        retries_max: said.dispatch.retries_max,
        ..base
    })
}

/// Whether the task is held, as the daemons say or else its file and the record do.
fn adoption(
    record: Option<&Adoption>,
    summary: &TaskSummary,
    daemons: &[DaemonView],
) -> Option<bool> {
    let Whereabouts::Pending(place) = &summary.whereabouts else { return None };
    let top = place.priority.as_ref().map(Priority::as_bytes).unwrap_or_default();
    let function = summary.function.as_deref().unwrap_or_default();
    let verdict = record.map_or(Verdict::Undecided, |record| record.verdict(top, function));
    let mut known = daemons.iter().filter_map(DaemonView::task).peekable();
    let is_held = if known.peek().is_some() {
        known.any(|task| task.standing == Standing::Held)
    } else {
        let suspects = record.is_some_and(|record| {
            record.suspects(place.priority.as_ref(), summary.submitted_ns, summary.due_ns)
        });
        // Whether it is one of ours, its file would tell.
        suspects && summary.readable && summary.id.is_none() && verdict != Verdict::Run
    };
    is_held.then_some(verdict == Verdict::Hold)
}

/// Asks all daemons of a spool about a task: both questions at once, so that one that hangs is waited for
/// once.
fn ask_daemons(view: &SpoolView, place: &[u8]) -> Vec<DaemonView> {
    let ask = |asked| ask_documents(view.path(), asked, ANSWER_WAIT_MAX);
    let (statuses, explanations) = std::thread::scope(|scope| {
        let explanations = scope.spawn(|| ask(Asked::Explain(place)));
        (ask(Asked::Status), explanations.join())
    });
    let mut explanations = explanations.unwrap_or_default();
    let view = |(pid, status): (u32, io::Result<Vec<u8>>)| {
        let at = explanations.iter().position(|(other, _)| *other == pid);
        let explanation = at.and_then(|at| explanations.swap_remove(at).1.ok());
        let explanation = explanation.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let status = status
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        DaemonView { pid, status, explanation }
    };
    statuses.into_iter().map(view).collect()
}
