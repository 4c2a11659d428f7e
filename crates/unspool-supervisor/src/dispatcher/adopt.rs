//! Old tasks of a directory that uWSGI used: held in the index, or buried, until all is decided.
//!
//! Owns what a dispatcher does about the record of the first look. What is held and what was
//! decided is `unspool_spool::Adoption`'s business. Once nothing is held any more the record says
//! so, and this costs nothing.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use tracing::{error, info, warn};
use unspool_core::Priority;
use unspool_spool::{
    AdoptError, Adoption, Group, Look, Survey, Verdict, begin_adoption, bury, change_adoption,
    count_nested, look, read_adoption,
};
use unspool_sys::clock;

use super::Dispatcher;
use super::index::{Kept, Seen, State, TaskKey};
use crate::journal::journal;
use crate::settings::{AdoptChoice, AdoptSettings, SpoolSettings};

/// Files moved to `dead/` between two looks at everything else.
const BURY_STEP: usize = 100;
/// Groups named in the warning; the command names all.
const GROUPS_SHOWN: usize = 10;
/// Characters of a name in the warning.
const NAME_SHOWN: usize = 80;
/// Nested folders named in the warning.
const NESTED_SHOWN: usize = 10;

/// What a dispatcher knows about old tasks while some may be held.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Adopting {
    record: Adoption,
    /// As it was read or written last.
    on_disk: Option<Adoption>,
    /// The record could not be written: it is in memory alone.
    unwritten: Option<String>,
    bury: bool,
    to_bury: VecDeque<TaskKey>,
    buried: u64,
    /// Part of the spool was not looked at, so that nothing can be said about all of it.
    incomplete: bool,
    reported: bool,
    read_failed: bool,
    /// Folders in priorities' folders that have tasks, which no daemon of ours looks at.
    nested: BTreeSet<Vec<u8>>,
}

/// Looks up what was decided, or records that this is the first look. `None` if nothing is held.
pub(crate) fn begin(spool: &SpoolSettings) -> Result<Option<Adopting>, AdoptError> {
    let AdoptSettings { ordered, age, choice } = spool.adopt;
    let wanted = match choice {
        Some(AdoptChoice::Run) => Some(Verdict::Run),
        Some(AdoptChoice::Hold) => Some(Verdict::Hold),
        Some(AdoptChoice::Bury) | None => None,
    };
    let mut new = Adoption::new(ordered, i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    new.default = wanted.unwrap_or(new.default);
    let (mut unwritten, mut on_disk) = (None, None);
    let mut record = match begin_adoption(&spool.dir, new.clone()) {
        Ok(record) => {
            on_disk = Some(record.clone());
            record
        }
        // Without room or the right to write, it is decided anew at each start.
        Err(AdoptError::Io { action: "write", source, .. }) => {
            unwritten = Some(source.to_string());
            new
        }
        Err(error) => return Err(error),
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != record.default && unwritten.is_none()) {
        record.default = wanted;
        let changed = change_adoption(&spool.dir, |record| {
            record.default = wanted;
            true
        });
        match changed {
            Ok(changed) => on_disk = Some(changed),
            Err(error) => unwritten = Some(error.to_string()),
        }
    }
    Ok((!record.is_settled()).then(|| Adopting {
        record,
        on_disk,
        unwritten,
        bury: choice == Some(AdoptChoice::Bury),
        to_bury: VecDeque::new(),
        buried: 0,
        incomplete: false,
        reported: false,
        read_failed: false,
        nested: BTreeSet::new(),
    }))
}

impl Dispatcher {
    /// Holds a task, if it is an old one of uWSGI's about which nobody decided that it runs.
    /// Returns whether it is held.
    pub(super) fn keep_back(&mut self, lane: u32, name: &[u8], seen: Seen) -> bool {
        let Some(adopting) = &self.adopting else { return false };
        let priority = self.index.priority(lane).cloned();
        if !adopting.record.suspects(priority.as_ref(), seen.submitted_ns, seen.due_ns) {
            return false;
        }
        let epoch = self.scanner.epoch();
        match self.index.find(lane, name).and_then(|key| self.index.state(key)) {
            Some(State::Kept) if self.index.is_kept_as(lane, name, seen.ctime_ns, epoch) => {
                return true;
            }
            // It runs already: it is ours, or it was released.
            Some(State::Ready | State::Delayed | State::Out | State::Paused) => return false,
            Some(State::Kept) | None => {}
        }
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return false };
        let content = match look(folder, name) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(_) => Look { ours: false, function: Vec::new() },
        };
        let top = priority.as_ref().map(Priority::as_bytes).unwrap_or_default();
        if content.ours || adopting.record.verdict(top, &content.function) == Verdict::Run {
            return false;
        }
        if self.index.find(lane, name).is_none() && !self.has_room_to_keep() {
            return true;
        }
        let function = self.history.id(&content.function);
        self.index.keep(lane, name, seen, epoch, function);
        true
    }

    /// Notes a folder within a priority's folder, where uWSGI may have looked and we do not.
    pub(super) fn note_nested(&mut self, lane: u32, inner: &Priority) {
        let (Some(adopting), Some(Some(folder)), Some(priority)) = (
            self.adopting.as_mut().filter(|adopting| !adopting.reported),
            self.folders.get(lane as usize),
            self.index.priority(lane),
        ) else {
            return;
        };
        if adopting.nested.len() < NESTED_SHOWN && count_nested(folder, inner) > 0 {
            adopting.nested.insert([priority.as_bytes(), b"/", inner.as_bytes()].concat());
        }
    }

    /// Notes that a folder was not looked at.
    pub(super) fn seen_in_part(&mut self) {
        if let Some(adopting) = &mut self.adopting {
            adopting.incomplete = true;
        }
    }

    /// After a whole scan: says what is held, buries it if that was asked for, and notes when
    /// nothing is.
    pub(super) fn adopt_scanned(&mut self) {
        let Some(mut adopting) = self.adopting.take() else { return };
        if !adopting.reported {
            adopting.reported = true;
            self.say_held(&adopting);
        }
        let (mut kept, mut undecided) = (0u64, Vec::new());
        for (task, _, _, verdict) in self.kept(&adopting.record) {
            kept += 1;
            if adopting.bury && verdict == Verdict::Undecided {
                undecided.push(task.key);
            }
        }
        adopting.to_bury = undecided.into();
        let nothing = kept == 0 && !adopting.incomplete && adopting.unwritten.is_none();
        if !nothing || !self.settle() {
            self.adopting = Some(adopting);
        }
    }

    /// Notes for good that nothing is held here.
    fn settle(&self) -> bool {
        let settled = change_adoption(&self.dir, |record| {
            record.default = Verdict::Run;
            record.rules.clear();
            true
        });
        match settled {
            Ok(_) => true,
            Err(error) => {
                // The next scan tries again.
                info!(spool = %self.dir.path().display(), "not noted that no task is held: {error}");
                false
            }
        }
    }

    /// The held tasks with the names of their folders and functions, and what was decided.
    fn kept<'a>(
        &'a self,
        record: &'a Adoption,
    ) -> impl Iterator<Item = (Kept, &'a [u8], &'a [u8], Verdict)> {
        let names = self.history.names();
        self.index.kept().map(move |task| {
            let top = self.index.priority(task.lane).map(Priority::as_bytes).unwrap_or_default();
            let function = names.get(task.function as usize).copied().unwrap_or_default();
            (task, top, function, record.verdict(top, function))
        })
    }

    /// One warning for everything that is held, with what to do.
    fn say_held(&self, adopting: &Adopting) {
        let path = self.dir.path().display();
        if let Some(error) = &adopting.unwritten {
            warn!(spool = %path, %error, "cannot note which tasks are held; the next start asks anew");
        }
        let mut survey = Survey::default();
        let mut decided = 0u64;
        for (task, top, function, verdict) in self.kept(&adopting.record) {
            if verdict == Verdict::Hold {
                decided += 1;
                continue;
            }
            let (oldest_ns, newest_ns) = (task.due_ns, task.due_ns);
            let one = Group { tasks: 1, oldest_ns, newest_ns, verdict, nested: false };
            survey.add(top, function, one);
        }
        if decided > 0 {
            journal!(HOLD_DECIDED, spool = %path, tasks = decided, "tasks are held, as decided");
        }
        let tasks = survey.tasks();
        let nested = adopting.nested.iter().map(|name| shown(name));
        let nested = nested.collect::<Vec<_>>().join(", ");
        if adopting.bury && tasks > 0 {
            journal!(
                HOLD_BURYING, spool = %path, tasks, groups = groups(&survey),
                "old tasks go to dead/"
            );
        } else if tasks > 0 {
            let nested = (!nested.is_empty()).then(|| tracing::field::display(&nested));
            journal!(HOLD_FOUND,
                spool = %path,
                tasks,
                nested_folders = nested,
                "{tasks} tasks are held that the old configuration never ran or that are long \
                 overdue: {}. `unspool adopt --spooler {path}` lists them; add --run, --hold or \
                 --bury to decide",
                groups(&survey)
            );
        } else if !nested.is_empty() {
            journal!(HOLD_NESTED,
                spool = %path,
                nested_folders = nested,
                "tasks in folders of priorities' folders do not run; `unspool adopt --spooler \
                 {path}` lists them; add --run or --bury to move them"
            );
        }
    }

    /// Takes in a decision that somebody recorded.
    pub(super) fn reread_adoption(&mut self) {
        if self.adopting.is_none() {
            return;
        }
        let record = match read_adoption(&self.dir) {
            Ok(Some(record)) => record,
            // It could not be written, or somebody deleted it: what was known holds.
            Ok(None) => return,
            Err(error) => {
                if let Some(adopting) = self.adopting.as_mut().filter(|known| !known.read_failed) {
                    adopting.read_failed = true;
                    error!(spool = %self.dir.path().display(), "{error}");
                }
                return;
            }
        };
        let Some(mut adopting) = self.adopting.take() else { return };
        if adopting.on_disk.as_ref() != Some(&record) {
            let released: Vec<TaskKey> = self
                .kept(&record)
                .filter(|(_, _, _, verdict)| *verdict == Verdict::Run)
                .map(|(task, ..)| task.key)
                .collect();
            let now_ns = self.now_ns();
            for key in &released {
                self.index.release(*key, now_ns);
            }
            let kept = self.index.kept().count();
            if !released.is_empty() {
                let (spool, released) = (self.dir.path().display(), released.len());
                journal!(HOLD_RELEASED, %spool, released, kept, "old tasks were decided to run");
            }
            adopting.unwritten = None;
            adopting.on_disk = Some(record.clone());
            adopting.record = record;
        }
        if !adopting.record.is_settled() {
            self.adopting = Some(adopting);
        }
    }

    /// Whether [`Dispatcher::bury_step`] has something to do.
    pub(super) fn is_burying(&self) -> bool {
        self.adopting.as_ref().is_some_and(|adopting| !adopting.to_bury.is_empty())
    }

    /// Moves some of the held tasks to `dead/`.
    pub(super) fn bury_step(&mut self) {
        let Some(adopting) = self.adopting.as_mut().filter(|known| !known.to_bury.is_empty())
        else {
            return;
        };
        let step = adopting.to_bury.len().min(BURY_STEP);
        let keys: Vec<TaskKey> = adopting.to_bury.drain(..step).collect();
        let over = adopting.to_bury.is_empty();
        let mut buried = 0;
        for key in keys {
            if self.index.state(key) != Some(State::Kept) {
                continue;
            }
            let Some((lane, name)) = self.index.name(key) else { continue };
            let Some(Some(folder)) = self.folders.get(lane as usize) else { continue };
            match bury(&self.dir, folder, &name) {
                Ok(Some(_)) => {
                    self.index.remove(key);
                    buried += 1;
                }
                // Somebody runs it: a later scan finds it or not.
                Ok(None) => {}
                Err(error) => {
                    let task = String::from_utf8_lossy(&name);
                    journal!(
                        HOLD_STUCK, %task, %error,
                        "cannot move an old task to dead/; it stays held"
                    );
                }
            }
        }
        let Some(adopting) = self.adopting.as_mut() else { return };
        adopting.buried += buried;
        self.tally.outcomes.dead += buried;
        if over {
            let tasks = std::mem::take(&mut adopting.buried);
            journal!(
                HOLD_BURIED, spool = %self.dir.path().display(), tasks,
                "old tasks were moved to dead/"
            );
            // Those that there was no room to keep follow.
            if tasks > 0 && self.keeps_more() {
                self.start_scan();
            }
        }
    }
}

/// `5 in mail/ of send, oldest due 54 days ago; ...`
fn groups(survey: &Survey) -> String {
    let now_ns = clock::now_ns();
    let mut parts: Vec<String> = survey
        .groups
        .iter()
        .take(GROUPS_SHOWN)
        .map(|((folder, function), group)| {
            let place = match folder.as_slice() {
                b"" => "the spool itself".to_owned(),
                name => format!("{}/", shown(name)),
            };
            let function = match function.as_slice() {
                b"" => "no function".to_owned(),
                name => shown(name),
            };
            let due = age(now_ns, group.oldest_ns);
            format!("{} in {place} of {function}, the oldest {due}", group.tasks)
        })
        .collect();
    let named: u64 = survey.groups.values().take(GROUPS_SHOWN).map(|group| group.tasks).sum();
    if survey.tasks() > named {
        parts.push(format!("{} others", survey.tasks() - named));
    }
    parts.join("; ")
}

/// A name from a file, without what would forge lines of the log.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let end = name.char_indices().nth(NAME_SHOWN).map_or(name.len(), |(at, _)| at);
    let dots = if end < name.len() { "..." } else { "" };
    format!("{}{dots}", name[..end].escape_debug())
}

fn age(now_ns: i64, due_ns: i64) -> String {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let hours = now_ns.saturating_sub(due_ns) / HOUR_NS;
    match hours {
        ..0 => "not due yet".to_owned(),
        0..48 => format!("due {hours} hours ago"),
        _ => format!("due {} days ago", hours / 24),
    }
}
