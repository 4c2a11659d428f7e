//! A look at spools: what their daemons know, or else what their files tell. Judges and keeps nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use unspool_core::Priority;
use unspool_spool::{
    Asked, Census, Pauses, RelayState, SpoolView, ask_documents, census, census_kept, read_pauses,
    read_relay, view_adoption,
};
use unspool_supervisor::snapshot::StatusSnapshot;
use unspool_sys::clock;

use crate::logging::with_causes;

/// How long a daemon may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long files are looked at where no daemon tells of them.
const CENSUS_MAX: Duration = Duration::from_millis(200);
/// What takes long is looked at so many times more rarely than it takes.
const REST: u64 = 20;

/// What one look saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) at_ns: i64,
    /// On the monotonic clock.
    pub(super) mono_ns: u64,
    pub(super) spools: Vec<SpoolLook>,
}

/// A spool.
#[derive(Debug, Default)]
pub(super) struct SpoolLook {
    pub(super) path: PathBuf,
    pub(super) daemons: Vec<DaemonLook>,
    /// Of an outbox what sends its tasks on, and whether that lives.
    pub(super) relay: Option<(RelayState, bool)>,
    /// Where its pending tasks stand, if that is known.
    pub(super) counts: Option<Counts>,
    /// How many lie in `dead/` and `corrupt/`, if that is known.
    pub(super) dead: Option<u64>,
    pub(super) corrupt: Option<u64>,
    /// What is paused, if that is known.
    pub(super) pauses: Option<Pauses>,
    /// What could not be looked at.
    pub(super) problem: Option<String>,
}

/// A daemon that runs a spool.
#[derive(Debug)]
pub(super) struct DaemonLook {
    pub(super) pid: u32,
    /// How it is, or why it does not say.
    pub(super) status: Result<StatusSnapshot, String>,
}

/// Where tasks stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) due: u64,
    pub(super) running: u64,
    pub(super) delayed: u64,
    pub(super) paused: u64,
    pub(super) held: u64,
    /// Not looked at for want of time.
    pub(super) unseen: u64,
    /// How long the oldest has been due.
    pub(super) oldest_due_ms: Option<u64>,
}

impl SpoolLook {
    /// Takes in why something could not be looked at.
    fn fail(&mut self, error: &dyn std::error::Error) {
        let error = with_causes(error);
        self.problem = Some(match self.problem.take() {
            Some(problem) => format!("{problem}; {error}"),
            None => error,
        });
    }

    /// What the daemons say that answer.
    pub(super) fn told(&self) -> impl Iterator<Item = &StatusSnapshot> {
        self.daemons.iter().filter_map(|daemon| daemon.status.as_ref().ok())
    }
}

/// Looks at the same spools again and again.
#[derive(Debug)]
pub(super) struct Looker {
    spools: Vec<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    path: PathBuf,
    kept: Rarely<Census>,
    census: Rarely<Census>,
}

/// Something that may take long to look at.
#[derive(Debug)]
struct Rarely<T> {
    last: Option<T>,
    again_ns: u64,
}

impl<T> Default for Rarely<T> {
    fn default() -> Self {
        Self { last: None, again_ns: 0 }
    }
}

impl<T: Clone> Rarely<T> {
    fn get(&mut self, look: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let began_ns = clock::monotonic_ns();
        if let Some(last) = self.last.as_ref().filter(|_| began_ns < self.again_ns) {
            return Ok(last.clone());
        }
        let seen = look()?;
        let ended_ns = clock::monotonic_ns();
        self.again_ns = ended_ns.saturating_add(REST * (ended_ns - began_ns));
        self.last = Some(seen.clone());
        Ok(seen)
    }
}

impl Looker {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let watched = |path| Watched { path, ..Watched::default() };
        Self { spools: paths.into_iter().map(watched).collect() }
    }

    pub(super) fn look(&mut self) -> Look {
        let at_ns = clock::now_ns();
        let spools = self.spools.iter_mut().map(|spool| spool.look(at_ns)).collect();
        Look { at_ns, mono_ns: clock::monotonic_ns(), spools }
    }
}

impl Watched {
    fn look(&mut self, now_ns: i64) -> SpoolLook {
        let mut seen = SpoolLook { path: self.path.clone(), ..SpoolLook::default() };
        if let Err(error) = self.fill(&mut seen, now_ns) {
            seen.fail(error.as_ref());
        }
        seen
    }

    fn fill(
        &mut self,
        seen: &mut SpoolLook,
        now_ns: i64,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let view = SpoolView::open(&self.path)?;
        let answers = ask_documents(&self.path, Asked::Status, ANSWER_WAIT_MAX);
        let parsed = |answer: io::Result<Vec<u8>>| {
            let bytes = answer.map_err(|error| error.to_string())?;
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())
        };
        let daemon = |(pid, answer)| DaemonLook { pid, status: parsed(answer) };
        seen.daemons = answers.into_iter().map(daemon).collect();
        seen.relay = read_relay(&view).ok().flatten();
        // What cannot be read keeps nothing else from being shown.
        match read_pauses(&view) {
            Ok(pauses) => seen.pauses = Some(pauses),
            Err(error) => seen.fail(&error),
        }
        let adoption = view_adoption(&view).unwrap_or_else(|error| {
            seen.fail(&error);
            None
        });
        let counts = together(seen.told().map(|status| told(&status.spool)));
        seen.counts = counts;
        let found = if counts.is_none() {
            let found =
                self.census.get(|| census(&view, adoption.as_ref(), now_ns, Some(CENSUS_MAX)))?;
            seen.counts = Some(counted(&found, seen.pauses.as_ref(), now_ns));
            found
        } else {
            self.kept.get(|| Ok(census_kept(&view)))?
        };
        (seen.dead, seen.corrupt) = (found.dead, found.corrupt);
        for folder in &found.unread {
            seen.fail(folder);
        }
        Ok(())
    }
}

fn told(spool: &unspool_supervisor::snapshot::SpoolSnapshot) -> Counts {
    let tasks = spool.tasks;
    Counts {
        due: tasks.due,
        running: tasks.running,
        delayed: tasks.delayed,
        paused: tasks.paused,
        held: tasks.held,
        unseen: 0,
        oldest_due_ms: spool.oldest_due_ms,
    }
}

/// What several daemons of one spool say. What runs in one of them is due, or put off, for the others.
fn together(told: impl Iterator<Item = Counts>) -> Option<Counts> {
    told.reduce(|first, other| {
        let due = first.due.saturating_sub(other.running);
        let put_off = other.running.saturating_sub(first.due);
        let delayed = first.delayed.saturating_sub(put_off);
        Counts { due, delayed, running: first.running + other.running, ..first }
    })
}

/// By the files: those of a function that is paused count as due, since no file is opened.
fn counted(census: &Census, pauses: Option<&Pauses>, now_ns: i64) -> Counts {
    let mut counts = Counts::default();
    for (priority, depth) in &census.folders {
        let priority: Option<&Priority> = priority.as_ref();
        // Nothing runs while that is not known.
        let is_paused = pauses.is_none_or(|all| all.of_task(priority, None).next().is_some());
        *(if is_paused { &mut counts.paused } else { &mut counts.due }) += depth.due;
        counts.running += depth.running;
        counts.delayed += depth.delayed;
        counts.held += depth.held;
        counts.unseen += depth.unseen;
        if let Some(due_ns) = depth.oldest_due_ns.filter(|_| !is_paused) {
            let ms = now_ns.saturating_sub(due_ns).max(0) as u64 / 1_000_000;
            counts.oldest_due_ms = counts.oldest_due_ms.max(Some(ms));
        }
    }
    counts
}
