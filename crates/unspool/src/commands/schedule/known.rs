//! The timers and crons of the daemons that run a spool, or else those that a configuration names.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_config::{Config, Environment};
use unspool_spool::{
    ScheduleStore, SpoolDir, ask_daemon_of, live_daemons, look_for_daemons, paused_in,
};
use unspool_supervisor::configured_entries;
use unspool_wire::request::Reply;
use unspool_wire::schedule::{Entry, ScheduleAsk, ScheduleReport, TimerPause};

use crate::cli::SpoolArgs;
use crate::programs;
use crate::resolve::ResolveError;
use crate::spools::{Source, SpoolsError, check_there, view_all};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or --config FILE";
/// How long a daemon may take to hear a question, and to answer it.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Answers that the entries of one daemon may need.
const PAGES_MAX: usize = 1000;

/// The schedule cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ScheduleError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("daemon {pid} runs `{spool}` and cannot be asked")]
    Ask { pid: u32, spool: PathBuf, source: io::Error },
    #[error("daemon {pid} does not answer")]
    Silent { pid: u32 },
    #[error("daemon {pid} answers: {error}")]
    Refused { pid: u32, error: String },
    #[error("daemon {pid} answers what makes no sense: it is of another version")]
    Answer { pid: u32 },
    #[error(
        "no daemon runs `{spool}`: only one that has imported the application knows its timers and crons: \
         start it with `unspool run`; --config FILE names those of a configuration"
    )]
    NoDaemon { spool: PathBuf },
    #[error(
        "no daemon runs `{spool}`: these are the configuration's; the application's timers and crons are known \
         once one runs: start it with `unspool run`"
    )]
    ListedWithoutDaemon { spool: PathBuf },
    #[error("no daemon runs, and one is needed to fire something: start it with `unspool run`")]
    NobodyToRun,
    #[error("there is no timer and no cron `{name}`; `unspool schedule ls` lists them")]
    Unknown { name: String },
    #[error(
        "no daemon runs `{spool}`, and the configuration names no timer and no cron `{name}`: those of the \
         application are known once a daemon runs; start it, or give one that `unspool schedule ls --config \
         FILE` lists"
    )]
    UnknownWithoutDaemon { name: String, spool: PathBuf },
    #[error(
        "cannot look for the daemons of `{spool}`: run this as its owner, as who the daemon runs, or as root"
    )]
    MayNotLook { spool: PathBuf, source: io::Error },
    #[error("`{name}` may be {names}: give the id, as `unspool schedule ls` shows it")]
    Ambiguous { name: String, names: String },
    #[error("cannot read or write what is paused, in `{spool}`")]
    Paused { spool: PathBuf, source: io::Error },
}

/// The schedule of one configuration.
#[derive(Debug)]
pub(crate) struct Known {
    /// A spool of it.
    pub(crate) spool: PathBuf,
    /// As the daemon that fires says, or one that does not; without a daemon its `pid` is 0.
    pub(crate) report: ScheduleReport,
}

/// All that can be known, and the configuration if one names the spools.
pub(crate) struct Schedules {
    pub(crate) known: Vec<Known>,
    config: Option<Box<Config>>,
}

impl Schedules {
    pub(crate) fn find(args: &SpoolArgs) -> Result<Self, ScheduleError> {
        let (paths, config) = Source::of(args, WAYS)?.run_here()?;
        let mut known: Vec<Known> = Vec::new();
        let mut asked = BTreeSet::new();
        for path in &paths {
            // What a configuration names may be made by the first start.
            if config.is_none() {
                check_there(path)?;
            }
            look_for_daemons(path)
                .map_err(|source| ScheduleError::MayNotLook { spool: path.clone(), source })?;
            for report in reports(path, &mut asked)? {
                match known.iter_mut().find(|other| other.report.key == report.key) {
                    // The one that fires knows when that was.
                    Some(other) if report.leads == Some(true) => other.report = report,
                    Some(_) => {}
                    None => known.push(Known { spool: path.clone(), report }),
                }
            }
        }
        if known.is_empty() {
            match (&config, paths.first()) {
                (Some(config), Some(first)) => known.push(of_files(config, first.clone())?),
                (None, Some(spool)) => {
                    return Err(ScheduleError::NoDaemon { spool: spool.to_owned() });
                }
                (_, None) => {}
            }
        }
        Ok(Self { known, config })
    }

    /// The one that somebody means, at each configuration that has it: of one id it is the same handler at
    /// the same times. The first is at a daemon that fires, if there is one.
    pub(crate) fn choose(&self, name: &str) -> Result<Vec<(&Known, &Entry)>, ScheduleError> {
        let all = self.known.iter().flat_map(|k| k.report.entries.iter().map(move |e| (k, e)));
        let by_id = |entry: &Entry| name.len() >= 4 && entry.id.starts_with(name);
        let by_name =
            |entry: &Entry| entry.name == name || entry.name.rsplit('.').next() == Some(name);
        let mut found: Vec<_> = all.clone().filter(|(_, entry)| by_name(entry)).collect();
        if found.is_empty() {
            found = all.filter(|(_, entry)| by_id(entry)).collect();
        }
        let Some((_, first)) = found.first() else { return Err(self.unknown(name)) };
        if found.iter().any(|(_, entry)| entry.id != first.id) {
            let names = found.iter().map(|(_, entry)| format!("{} `{}`", entry.id, entry.name));
            let names = names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ");
            return Err(ScheduleError::Ambiguous { name: name.to_owned(), names });
        }
        found.sort_by_key(|(known, _)| known.report.leads != Some(true));
        let mut keys = BTreeSet::new();
        found.retain(|(known, _)| keys.insert(&known.report.key));
        Ok(found)
    }

    pub(crate) fn unknown(&self, name: &str) -> ScheduleError {
        let name = name.to_owned();
        match self.known.iter().find(|known| known.report.pid == 0) {
            Some(known) => ScheduleError::UnknownWithoutDaemon { name, spool: known.spool.clone() },
            None => ScheduleError::Unknown { name },
        }
    }

    /// Fires, pauses or resumes.
    pub(crate) fn act(&self, on: &Known, ask: ScheduleAsk) -> Result<(), ScheduleError> {
        if on.report.pid == 0 {
            return self.without_daemon(on, ask);
        }
        match ask_one(&on.spool, on.report.pid, &ask)? {
            Reply::Done => Ok(()),
            Reply::Failed { error } | Reply::Refused { error } => {
                Err(ScheduleError::Refused { pid: on.report.pid, error })
            }
            _ => Err(ScheduleError::Answer { pid: on.report.pid }),
        }
    }

    fn without_daemon(&self, on: &Known, ask: ScheduleAsk) -> Result<(), ScheduleError> {
        let fail = |source| ScheduleError::Paused { spool: on.spool.clone(), source };
        let store = || -> Result<ScheduleStore, ScheduleError> {
            let Some(config) = &self.config else { return Err(ScheduleError::NobodyToRun) };
            let spool = SpoolDir::open(&on.spool).map_err(SpoolsError::from)?;
            let states = Environment::current().state_directories();
            let place = programs::schedule(config, Some(&spool), states).map_err(fail)?;
            place.open().map_err(fail)
        };
        match ask {
            ScheduleAsk::Pause { id, by, why } => {
                let entries = on.report.entries.iter();
                let name = entries.clone().find(|entry| entry.id == id).map(|e| e.name.clone());
                let at_ms = unspool_sys::clock::now_ns() / 1_000_000;
                let pause = TimerPause { id, name: name.unwrap_or_default(), by, why, at_ms };
                store()?.pause(pause).map_err(fail)?;
            }
            ScheduleAsk::Resume { id } => {
                store()?.resume(&id).map_err(fail)?;
            }
            ScheduleAsk::Run { .. } | ScheduleAsk::List { .. } => {
                return Err(ScheduleError::NobodyToRun);
            }
        }
        Ok(())
    }
}

/// What a configuration says, and which of that is paused. What is paused of the application is known
/// by the pause alone.
fn of_files(config: &Config, spool: PathBuf) -> Result<Known, ScheduleError> {
    let key = programs::key(config);
    let mut entries = configured_entries(&programs::settings(config)?);
    let mut paused = Vec::new();
    if spool.is_dir() {
        for view in view_all(vec![spool.clone()])? {
            let fail = |source| ScheduleError::Paused { spool: spool.clone(), source };
            paused = paused_in(&view, &programs::pause_key(config)).map_err(fail)?;
        }
    }
    for entry in &mut entries {
        let at = paused.iter().position(|pause| pause.id == entry.id);
        entry.paused = at.map(|at| paused.remove(at));
    }
    entries.extend(paused.into_iter().map(of_pause));
    let total = entries.len();
    Ok(Known { spool, report: ScheduleReport { key, total, entries, ..Default::default() } })
}

fn of_pause(pause: TimerPause) -> Entry {
    Entry {
        id: pause.id.clone(),
        kind: unspool_wire::schedule::EntryKind::Timer,
        name: pause.name.clone(),
        signal: None,
        every_ms: None,
        when: None,
        next_ms: None,
        last_ms: None,
        runs: 0,
        own: false,
        paused: Some(pause),
    }
}

/// The schedules of all daemons that run a spool and were not asked before.
fn reports(spool: &Path, asked: &mut BTreeSet<u32>) -> Result<Vec<ScheduleReport>, ScheduleError> {
    let mut found = Vec::new();
    for pid in live_daemons(spool) {
        if asked.insert(pid) {
            found.push(report(spool, pid)?);
        }
    }
    Ok(found)
}

fn report(spool: &Path, pid: u32) -> Result<ScheduleReport, ScheduleError> {
    let mut whole: Option<ScheduleReport> = None;
    for _ in 0..PAGES_MAX {
        let skip = whole.as_ref().map_or(0, |report| report.entries.len());
        let Reply::Schedule(page) = ask_one(spool, pid, &ScheduleAsk::List { skip })? else {
            return Err(ScheduleError::Answer { pid });
        };
        let more = !page.entries.is_empty();
        let report = match &mut whole {
            None => whole.insert(page),
            Some(report) => {
                report.entries.extend(page.entries);
                report
            }
        };
        if !more || report.entries.len() >= report.total {
            break;
        }
    }
    whole.ok_or(ScheduleError::Answer { pid })
}

fn packet(ask: &ScheduleAsk) -> Vec<u8> {
    let mut object = serde_json::to_value(ask).unwrap_or_default();
    object["type"] = "schedule".into();
    serde_json::to_vec(&object).unwrap_or_default()
}

fn ask_one(spool: &Path, pid: u32, ask: &ScheduleAsk) -> Result<Reply, ScheduleError> {
    let fail = |source| ScheduleError::Ask { pid, spool: spool.to_owned(), source };
    let question = ask_daemon_of(spool, pid, &packet(ask), ANSWER_WAIT).map_err(fail)?;
    let Some(question) = question else { return Err(ScheduleError::Silent { pid }) };
    let answer = question.answer(ANSWER_WAIT).map_err(fail)?;
    let answer = answer.ok_or(ScheduleError::Silent { pid })?;
    serde_json::from_slice(&answer).map_err(|_| ScheduleError::Answer { pid })
}
