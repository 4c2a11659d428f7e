//! The watched files: what each was like when it was last looked at, and which have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tracing::warn;
use unspool_sys::clock;
use unspool_sys::folder::{self, FileKind};
use unspool_sys::notify::Watcher as Notify;

use super::folders::Folders;
use super::{Monitor, SOURCES_MAX, Seen, SourceFile};

/// What a file is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// A touch, by its number in the settings.
    Touch(usize),
    /// A change of the application.
    Source,
    /// A signal.
    Monitor(u8),
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    purpose: Purpose,
    /// Any event counts, not only what [`Seen`] shows.
    any_event: bool,
    seen: Seen,
    /// Another name of the file, or a link, can change it without an event here.
    elsewhere: bool,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) touched: BTreeSet<usize>,
    pub(super) sources: Option<(PathBuf, usize)>,
    pub(super) signals: BTreeSet<u8>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.sources.is_none() && self.signals.is_empty()
    }
}

/// A change that is not told yet: a save is several events, and a checkout many.
#[derive(Debug)]
struct Unsettled {
    first_ns: u64,
    last_ns: u64,
    path: PathBuf,
    count: usize,
}

/// Nothing more has to happen for so long, but no more is waited than the second.
const QUIET_NS: u64 = 100_000_000;
const UNSETTLED_NS_MAX: u64 = 1_000_000_000;

impl Unsettled {
    fn settles_at_ns(&self) -> u64 {
        (self.last_ns + QUIET_NS).min(self.first_ns + UNSETTLED_NS_MAX)
    }
}

/// When monitors raised their signals last. They do so at once, and not all the time: a handler may
/// change what its monitor watches, and so may the log of its run.
#[derive(Debug, Default)]
struct Pace {
    told_ns: BTreeMap<u8, u64>,
    late: BTreeSet<u8>,
}

/// Between two signals of monitors.
const PACE_NS: u64 = 100_000_000;

impl Pace {
    fn changed(&mut self, signal: u8, now_ns: u64, found: &mut Found) {
        if self.told_ns.get(&signal).is_some_and(|told_ns| told_ns + PACE_NS > now_ns) {
            self.late.insert(signal);
        } else {
            self.told_ns.insert(signal, now_ns);
            found.signals.insert(signal);
        }
    }

    fn next_ns(&self) -> Option<u64> {
        self.late.iter().filter_map(|signal| self.told_ns.get(signal)).map(|ns| ns + PACE_NS).min()
    }

    fn tell_late(&mut self, now_ns: u64, found: &mut Found) {
        for signal in std::mem::take(&mut self.late) {
            self.changed(signal, now_ns, found);
        }
    }
}

/// All watched files.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: BTreeMap<u64, Target>,
    sources: HashMap<PathBuf, u64>,
    last: u64,
    unsettled: BTreeMap<Purpose, Unsettled>,
    /// The application could not be imported: a new file may mend it.
    failed: bool,
    monitors: Pace,
    deaf: BTreeSet<u64>,
    deaf_sources: BTreeSet<u64>,
}

fn look(path: &Path) -> Seen {
    folder::look(path).ok().flatten().map(|stat| (stat.mtime_ns, stat.bytes))
}

impl Targets {
    pub(super) fn add_touch(
        &mut self,
        number: usize,
        path: PathBuf,
        any_event: bool,
        folders: &mut Folders,
        notify: &Notify,
    ) {
        if look(&path).is_none() {
            warn!(path = %path.display(), "nothing to watch is there yet; its creation counts");
        }
        self.add(path, Purpose::Touch(number), any_event, None, folders, notify);
    }

    /// Returns its number.
    pub(super) fn add_monitor(
        &mut self,
        monitor: Monitor,
        folders: &mut Folders,
        notify: &Notify,
    ) -> u64 {
        let Monitor { path, signal, state } = monitor;
        if look(&path).is_none() {
            warn!(signal, path = %path.display(), "nothing to monitor is there yet");
        }
        self.add(path, Purpose::Monitor(signal), true, Some(state), folders, notify)
    }

    /// Returns its number; `None` if it is watched already, or too many are.
    pub(super) fn add_source(
        &mut self,
        source: SourceFile,
        folders: &mut Folders,
        notify: &Notify,
    ) -> Option<u64> {
        // Twice as many: those of an application that failed, beside the ones before.
        if self.sources.contains_key(&source.path) || self.sources.len() >= 2 * SOURCES_MAX {
            return None;
        }
        let SourceFile { path, state } = source;
        let target = self.add(path.clone(), Purpose::Source, false, Some(state), folders, notify);
        self.sources.insert(path, target);
        Some(target)
    }

    /// Watches the files of a new application. What differs from what it has read is a change.
    pub(super) fn set_sources(
        &mut self,
        files: Vec<SourceFile>,
        failed: bool,
        folders: &mut Folders,
        notify: &Notify,
    ) {
        self.failed = failed;
        self.unsettled.remove(&Purpose::Source);
        let old = std::mem::take(&mut self.sources);
        let mut gone = BTreeSet::new();
        let mut kept: Vec<SourceFile> = Vec::new();
        for (path, target) in old {
            if let Some(target) = self.all.remove(&target).filter(|_| failed) {
                kept.push(SourceFile { path, state: target.seen });
            }
            gone.insert(target);
        }
        self.deaf_sources.clear();
        // The new ones first: folders that both have keep their watches.
        for source in files.into_iter().chain(kept) {
            self.add_source(source, folders, notify);
        }
        folders.forget(&|target| gone.contains(&target), notify);
        let mut found = Found::default();
        for target in self.sources.values().copied().collect::<Vec<_>>() {
            self.look_at(target, folders, &mut found);
        }
    }

    /// Forgets the monitors of some signals.
    pub(super) fn remove_monitors(
        &mut self,
        over: &dyn Fn(u8) -> bool,
        folders: &mut Folders,
        notify: &Notify,
    ) {
        let is_over = |target: &Target| match target.purpose {
            Purpose::Monitor(signal) => over(signal),
            Purpose::Touch(_) | Purpose::Source => false,
        };
        let gone: BTreeSet<u64> =
            self.all.iter().filter(|(_, t)| is_over(t)).map(|(id, _)| *id).collect();
        if gone.is_empty() {
            return;
        }
        self.all.retain(|id, _| !gone.contains(id));
        self.deaf.retain(|id| !gone.contains(id));
        folders.forget(&|id| gone.contains(&id), notify);
    }

    fn add(
        &mut self,
        path: PathBuf,
        purpose: Purpose,
        any_event: bool,
        known: Option<Seen>,
        folders: &mut Folders,
        notify: &Notify,
    ) -> u64 {
        self.last += 1;
        let id = self.last;
        let parent = path.parent().unwrap_or(&path).to_owned();
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        folders.entry(&parent, notify).names.entry(name).or_default().push(id);
        // Watched first, looked at then: what happens between the two is seen.
        let stat = folder::look(&path).ok().flatten();
        if any_event && stat.is_some_and(|stat| stat.kind == FileKind::Directory) {
            folders.entry(&path, notify).whole.push(id);
        }
        let seen = known.unwrap_or_else(|| stat.map(|stat| (stat.mtime_ns, stat.bytes)));
        let link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
        let many = purpose == Purpose::Source;
        let elsewhere = link || !many && stat.is_some_and(|stat| stat.links > 1);
        self.all.insert(id, Target { path, purpose, any_event, seen, elsewhere });
        self.judge(id, folders);
        id
    }

    /// Whether the events of a target can be relied on.
    fn judge(&mut self, id: u64, folders: &Folders) {
        let Some(target) = self.all.get(&id) else { return };
        let many = target.purpose == Purpose::Source;
        let parent = target.path.parent().unwrap_or(&target.path);
        let deaf = target.elsewhere
            || folders.get(parent).is_none_or(|f| f.is_deaf() || f.indirect && !many);
        let list = if many { &mut self.deaf_sources } else { &mut self.deaf };
        if deaf {
            list.insert(id);
        } else {
            list.remove(&id);
        }
    }

    pub(super) fn any_deaf(&self) -> bool {
        !self.deaf.is_empty()
    }

    pub(super) fn any_deaf_source(&self) -> bool {
        !self.deaf_sources.is_empty()
    }

    /// Something happened to a name in a watched folder.
    pub(super) fn hear(&mut self, folders: &Folders, watch: i32, name: &[u8], found: &mut Found) {
        let mut concerned = BTreeSet::new();
        let mut new_source = None;
        for folder in folders.of_watch(watch) {
            concerned.extend(folder.names.get(name).into_iter().flatten());
            concerned.extend(&folder.whole);
            if self.failed && name.ends_with(b".py") && !folder.names.contains_key(name) {
                new_source = folder.names.values().flatten().find_map(|id| {
                    let target = self.all.get(id)?;
                    (target.purpose == Purpose::Source).then(|| target.path.clone())
                });
            }
        }
        for id in concerned {
            let Some(target) = self.all.get_mut(&id) else { continue };
            if !target.any_event {
                self.look_at(id, folders, found);
                continue;
            }
            target.seen = look(&target.path);
            let (purpose, path) = (target.purpose, target.path.clone());
            self.changed(purpose, path, found);
        }
        if let Some(beside) = new_source {
            self.changed(Purpose::Source, beside.with_file_name(folder::os_str(name)), found);
        }
    }

    pub(super) fn look_at(&mut self, id: u64, folders: &Folders, found: &mut Found) {
        let Some(target) = self.all.get_mut(&id) else { return };
        let now = look(&target.path);
        if std::mem::replace(&mut target.seen, now) != now {
            let (purpose, path) = (target.purpose, target.path.clone());
            self.changed(purpose, path, found);
        }
        self.judge(id, folders);
    }

    pub(super) fn look_at_all(&mut self, folders: &Folders, found: &mut Found) {
        for id in self.all.keys().copied().collect::<Vec<_>>() {
            self.look_at(id, folders, found);
        }
    }

    pub(super) fn look_at_deaf(&mut self, folders: &Folders, found: &mut Found, sources: bool) {
        let list = if sources { &self.deaf_sources } else { &self.deaf };
        for id in list.iter().copied().collect::<Vec<_>>() {
            self.look_at(id, folders, found);
        }
    }

    fn changed(&mut self, purpose: Purpose, path: PathBuf, found: &mut Found) {
        let now_ns = clock::monotonic_ns();
        if let Purpose::Monitor(signal) = purpose {
            self.monitors.changed(signal, now_ns, found);
            return;
        }
        let unsettled = self.unsettled.entry(purpose).or_insert(Unsettled {
            first_ns: now_ns,
            last_ns: now_ns,
            path,
            count: 0,
        });
        unsettled.last_ns = now_ns;
        unsettled.count += 1;
    }

    /// When the next change is told.
    pub(super) fn settles_at_ns(&self) -> Option<u64> {
        let unsettled = self.unsettled.values().map(Unsettled::settles_at_ns);
        unsettled.chain(self.monitors.next_ns()).min()
    }

    /// Tells of changes after which nothing more has happened.
    pub(super) fn settle(&mut self, found: &mut Found, now_ns: u64) {
        self.monitors.tell_late(now_ns, found);
        self.unsettled.retain(|purpose, unsettled| {
            if unsettled.settles_at_ns() > now_ns {
                return true;
            }
            match purpose {
                Purpose::Touch(number) => {
                    found.touched.insert(*number);
                }
                Purpose::Source => {
                    found.sources = Some((std::mem::take(&mut unsettled.path), unsettled.count));
                }
                Purpose::Monitor(_) => {}
            }
            false
        });
    }
}
