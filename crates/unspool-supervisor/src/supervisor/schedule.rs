//! The schedule: when timers and crons raise their signals, and commands of crons run. Missed ticks
//! are dropped. Whether this daemon is the one that fires is decided in `leader`.

use std::collections::BTreeMap;

use jiff::ZonedDateTime;
use tracing::warn;
use unspool_sys::clock;
use unspool_wire::control::{CronSpec, SignalSpec, TimerSpec};
use unspool_wire::schedule::{Entry, EntryKind, TimerPause};

use super::Supervisor;
use super::calendar::matches;
use crate::programs::{CronCommand, CronFields, ProgramSettings};
use crate::snapshot::{CronSnapshot, TimerSnapshot};

/// Timers and crons: those of the configuration, and those of the current generation.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Timers of the configuration.
    fixed: Vec<TimerSpec>,
    /// When the commands of the configuration run.
    commands: Vec<CronCommand>,
    timers: Vec<Timer>,
    /// Those that the import registered.
    crons: Vec<CronSpec>,
    /// Those that a process of this daemon registered at run time.
    own_crons: Vec<CronSpec>,
    /// The minute since 1970 for which crons were last looked at.
    minute: i64,
    /// That minute, while nobody has decided whether this daemon fires it.
    open: Option<i64>,
    /// Functions that handle signals.
    handlers: BTreeMap<u8, String>,
    /// What each entry has done so far, by its id.
    pub(super) fired: BTreeMap<String, Fired>,
    /// What does not fire, by its id.
    pub(super) paused: BTreeMap<String, TimerPause>,
}

/// When an entry fired last, in milliseconds since 1970, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fired {
    pub(super) last_ms: i64,
    pub(super) runs: u64,
}

/// What is due, and the entry that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Firing {
    pub(super) due: Due,
    pub(super) id: String,
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick {
    pub(super) signal: u8,
    /// No other daemon has the timer.
    pub(super) own: bool,
    pub(super) id: String,
}

/// What a cron asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Raise this signal.
    Signal(u8),
    /// Run the command of this number.
    Command(usize),
}

#[derive(Debug)]
struct Timer {
    signal: u8,
    every_ns: u64,
    next_ns: u64,
    /// Ticks left; `None`: for ever.
    left: Option<u64>,
    /// Registered at run time by a process of this daemon: no other daemon has it.
    own: bool,
    /// Of the configuration.
    fixed: bool,
}

impl Timer {
    fn new(spec: &TimerSpec, now_ns: u64, own: bool) -> Option<Self> {
        // As in uWSGI, a timer of 0 seconds never fires.
        if spec.seconds <= 0.0 || !spec.seconds.is_finite() {
            warn!(signal = spec.signal, seconds = spec.seconds, "timer never fires");
            return None;
        }
        let every_ns = ((spec.seconds * 1e9) as u64).max(EVERY_NS_MIN);
        let left = (spec.iterations > 0).then_some(spec.iterations);
        let next_ns = now_ns.saturating_add(every_ns);
        Some(Self { signal: spec.signal, every_ns, next_ns, left, own, fixed: false })
    }
}

/// Timers, and crons, that there may be.
const SCHEDULES_MAX: usize = 4096;
/// The shortest interval of a timer.
const EVERY_NS_MIN: u64 = 1_000_000;
/// Entries whose last firing is known: those that are there, and some that were.
const FIRED_MAX: usize = 4 * SCHEDULES_MAX;
const MINUTE_NS: i64 = 60_000_000_000;

impl Schedule {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        Self {
            fixed: settings.timers.clone(),
            commands: settings.crons.clone(),
            minute: clock::now_ns().div_euclid(MINUTE_NS),
            ..Self::default()
        }
    }

    /// Whether anything could be due.
    pub(super) fn has_any(&self) -> bool {
        !self.timers.is_empty() || self.has_crons()
    }

    fn has_crons(&self) -> bool {
        !self.crons.is_empty() || !self.commands.is_empty() || !self.own_crons.is_empty()
    }

    /// Takes what the application registered. Timers start over, crons do not.
    pub(super) fn replace(&mut self, timers: &[TimerSpec], crons: &[CronSpec]) {
        let now_ns = clock::monotonic_ns();
        self.timers.clear();
        let fixed = self.fixed.iter().filter_map(|spec| Timer::new(spec, now_ns, false));
        self.timers.extend(fixed.map(|timer| Timer { fixed: true, ..timer }));
        self.timers.extend(timers.iter().filter_map(|spec| Timer::new(spec, now_ns, false)));
        self.begin_minutes();
        self.crons = crons.to_vec();
        self.own_crons.clear();
    }

    /// Adds timers of the import that were held back.
    pub(super) fn start_timers(&mut self, timers: &[TimerSpec]) {
        let now_ns = clock::monotonic_ns();
        self.timers.extend(timers.iter().filter_map(|spec| Timer::new(spec, now_ns, false)));
    }

    /// Adds a timer at run time.
    pub(super) fn add_timer(&mut self, spec: &TimerSpec) -> Result<(), String> {
        if self.timers.len() >= SCHEDULES_MAX {
            return Err(format!("there are {SCHEDULES_MAX} timers already"));
        }
        self.timers.extend(Timer::new(spec, clock::monotonic_ns(), true));
        Ok(())
    }

    /// Adds a cron at run time.
    pub(super) fn add_cron(&mut self, spec: CronSpec) -> Result<(), String> {
        if self.own_crons.len() >= SCHEDULES_MAX {
            return Err(format!("there are {SCHEDULES_MAX} crons already"));
        }
        self.begin_minutes();
        self.own_crons.push(spec);
        Ok(())
    }

    /// Forgets timers and crons of a signal that has no handler any more.
    pub(super) fn remove(&mut self, signal: u8) {
        self.timers.retain(|timer| timer.signal != signal);
        self.crons.retain(|cron| cron.signal != signal);
        self.own_crons.retain(|cron| cron.signal != signal);
    }

    /// The first cron does not fire in the minute in which it is added.
    fn begin_minutes(&mut self) {
        if !self.has_crons() {
            self.minute = clock::now_ns().div_euclid(MINUTE_NS);
        }
    }

    /// What there is, to be shown.
    pub(super) fn account(&self, now_ns: u64) -> (Vec<TimerSnapshot>, Vec<CronSnapshot>) {
        let timers = self.timers.iter().map(|timer| TimerSnapshot {
            signal: timer.signal,
            every_ms: timer.every_ns / 1_000_000,
            next_ms: timer.next_ns.saturating_sub(now_ns) / 1_000_000,
        });
        let crons = self.crons.iter().map(|cron| CronSnapshot {
            signal: cron.signal,
            minute: cron.minute,
            hour: cron.hour,
            day: cron.day,
            month: cron.month,
            weekday: cron.weekday,
        });
        (timers.collect(), crons.collect())
    }

    /// When the next timer fires, on the monotonic clock.
    pub(super) fn next_timer_ns(&self) -> Option<u64> {
        self.timers.iter().map(|timer| timer.next_ns).min()
    }

    /// When crons are looked at next, on the wall clock.
    fn next_minute_ns(&self) -> Option<i64> {
        self.has_crons().then_some((self.minute + 1) * MINUTE_NS)
    }

    /// Timers that are due, but for those that are paused.
    pub(super) fn due_timers(&mut self, now_ns: u64) -> Vec<Tick> {
        let mut due = Vec::new();
        for timer in &mut self.timers {
            if timer.next_ns > now_ns {
                continue;
            }
            let id = timer_id(timer, &self.handlers);
            let is_paused = self.paused.contains_key(&id);
            if !is_paused {
                due.push(Tick { signal: timer.signal, own: timer.own, id });
            }
            // On the grid of its start; ticks that were missed are dropped.
            let missed = (now_ns - timer.next_ns) / timer.every_ns;
            timer.next_ns += (missed + 1) * timer.every_ns;
            if let Some(left) = timer.left.as_mut().filter(|_| !is_paused) {
                *left -= 1;
            }
        }
        self.timers.retain(|timer| timer.left != Some(0));
        due
    }

    /// Looks at the clock. Returns what fires here in any case, at the begin of a minute.
    pub(super) fn look(&mut self, wall_ns: i64) -> Vec<Firing> {
        let minute = wall_ns.div_euclid(MINUTE_NS);
        let begins = minute > self.minute || minute < self.minute - 60;
        if begins {
            self.minute = minute;
            self.open = Some(minute);
        }
        // One that passed undecided is missed.
        self.open = self.open.filter(|open| *open == minute);
        if begins { self.signals(&self.own_crons, local(minute).as_ref()) } else { Vec::new() }
    }

    /// The current minute, if nobody has decided whether this daemon fires it: now this one does.
    pub(super) fn decide(&mut self) -> Option<i64> {
        self.open.take()
    }

    /// What the one daemon that fires does in a minute.
    pub(super) fn matching(&self, minute: i64) -> Vec<Firing> {
        let local = local(minute);
        let mut due = self.signals(&self.crons, local.as_ref());
        if let Some(local) = &local {
            let all = self.commands.iter().enumerate();
            let commands = all.filter(|(_, command)| matches(&command.when, local));
            let commands = commands.map(|(number, command)| Firing {
                due: Due::Command(number),
                id: command_id(&command.when, &command.shown),
            });
            due.extend(commands.filter(|firing| !self.paused.contains_key(&firing.id)));
        }
        due
    }

    fn signals(&self, crons: &[CronSpec], time: Option<&ZonedDateTime>) -> Vec<Firing> {
        let Some(time) = time else { return Vec::new() };
        let due = crons.iter().filter(|cron| matches(&CronFields::from(*cron), time));
        let firings = due.map(|cron| Firing {
            due: Due::Signal(cron.signal),
            id: cron_id(cron, &self.handlers),
        });
        firings.filter(|firing| !self.paused.contains_key(&firing.id)).collect()
    }

    /// Learns which functions handle signals.
    pub(super) fn name_handlers(&mut self, signals: &[SignalSpec]) {
        let named = signals.iter().filter(|spec| !spec.handler.is_empty());
        self.handlers = named.map(|spec| (spec.signal, spec.handler.clone())).collect();
    }

    /// An entry fires.
    pub(super) fn note(&mut self, id: &str) {
        let last_ms = clock::now_ns() / 1_000_000;
        if let Some(fired) = self.fired.get_mut(id) {
            *fired = Fired { last_ms, runs: fired.runs + 1 };
        } else if self.fired.len() < FIRED_MAX {
            self.fired.insert(id.to_owned(), Fired { last_ms, runs: 1 });
        }
    }

    /// All entries, with what they do.
    pub(super) fn entries(&self, now_ns: u64) -> Vec<(Entry, Due)> {
        let wall_ms = clock::now_ns() / 1_000_000;
        let timers = self.timers.iter().map(|timer| {
            let left_ms = (timer.next_ns.saturating_sub(now_ns) / 1_000_000) as i64;
            let id = timer_id(timer, &self.handlers);
            let name = handler_name(timer.signal, &self.handlers);
            let mut entry = self.entry(id, EntryKind::Timer, name);
            entry.signal = Some(timer.signal);
            entry.every_ms = Some(timer.every_ns / 1_000_000);
            entry.next_ms = Some(wall_ms.saturating_add(left_ms));
            entry.own = timer.own;
            (entry, Due::Signal(timer.signal))
        });
        let shared = self.crons.iter().map(|cron| (cron, false));
        let crons = shared.chain(self.own_crons.iter().map(|cron| (cron, true)));
        let crons = crons.map(|(cron, own)| {
            let id = cron_id(cron, &self.handlers);
            let name = handler_name(cron.signal, &self.handlers);
            let mut entry = self.entry(id, EntryKind::Cron, name);
            entry.signal = Some(cron.signal);
            entry.when = Some(fields(&cron.into()));
            entry.own = own;
            (entry, Due::Signal(cron.signal))
        });
        let commands = self.commands.iter().enumerate().map(|(number, command)| {
            let id = command_id(&command.when, &command.shown);
            let mut entry = self.entry(id, EntryKind::Command, command.shown.clone());
            entry.when = Some(fields(&command.when));
            (entry, Due::Command(number))
        });
        timers.chain(crons).chain(commands).collect()
    }

    fn entry(&self, id: String, kind: EntryKind, name: String) -> Entry {
        let fired = self.fired.get(&id);
        Entry {
            kind,
            name,
            signal: None,
            every_ms: None,
            when: None,
            next_ms: None,
            last_ms: fired.map(|fired| fired.last_ms),
            runs: fired.map_or(0, |fired| fired.runs),
            own: false,
            paused: self.paused.get(&id).cloned(),
            id,
        }
    }
}

/// The timers and crons that stand in a configuration, without a daemon.
pub fn configured_entries(settings: &ProgramSettings) -> Vec<Entry> {
    let mut schedule = Schedule::new(settings);
    schedule.replace(&[], &[]);
    let entries = schedule.entries(clock::monotonic_ns()).into_iter();
    entries.map(|(entry, _)| Entry { next_ms: None, ..entry }).collect()
}

fn handler_name(signal: u8, handlers: &BTreeMap<u8, String>) -> String {
    handlers.get(&signal).cloned().unwrap_or_else(|| format!("signal {signal}"))
}

/// Numbers of signals are handed out in the order of an import, and change with its code: a handler's
/// name does not.
fn timer_id(timer: &Timer, handlers: &BTreeMap<u8, String>) -> String {
    let every = format!("{}", timer.every_ns);
    if timer.fixed {
        return entry_id(["configured", &timer.signal.to_string(), &every]);
    }
    entry_id(["timer", &handler_name(timer.signal, handlers), &every])
}

fn cron_id(cron: &CronSpec, handlers: &BTreeMap<u8, String>) -> String {
    let when = format!("{:?}", fields(&cron.into()));
    entry_id(["cron", &handler_name(cron.signal, handlers), &when])
}

fn command_id(when: &CronFields, shown: &str) -> String {
    entry_id(["command", shown, &format!("{:?}", fields(when))])
}

fn fields(when: &CronFields) -> [i32; 5] {
    [when.minute, when.hour, when.day, when.month, when.weekday]
}

/// FNV-1a, folded to 32 bits: the same in every version.
fn entry_id(parts: [&str; 3]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// A minute since 1970 in local time.
fn local(minute: i64) -> Option<ZonedDateTime> {
    let time = jiff::Timestamp::from_second(minute * 60).ok()?;
    Some(time.to_zoned_datetime(jiff::tz::TimeZone::system()))
}

impl From<&CronSpec> for CronFields {
    fn from(spec: &CronSpec) -> Self {
        let CronSpec { minute, hour, day, month, weekday, .. } = *spec;
        Self { minute, hour, day, month, weekday }
    }
}

impl Supervisor {
    /// Sets the wall timer to the next minute, if there are crons.
    pub(super) fn arm_wall(&mut self) {
        let next_ns = self.schedule.next_minute_ns();
        if next_ns == self.wall_at_ns {
            return;
        }
        match self.wall.set(next_ns) {
            Ok(()) => self.wall_at_ns = next_ns,
            Err(error) => warn!(%error, "cannot set the timer for crons"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(fields: [i32; 5]) -> CronSpec {
        let [minute, hour, day, month, weekday] = fields;
        CronSpec { signal: 1, minute, hour, day, month, weekday }
    }

    fn dues(firings: Vec<Firing>) -> Vec<Due> {
        firings.into_iter().map(|firing| firing.due).collect()
    }

    fn signals(schedule: &mut Schedule, now_ns: u64) -> Vec<u8> {
        schedule.due_timers(now_ns).into_iter().map(|tick| tick.signal).collect()
    }

    fn pause(id: &str) -> (String, TimerPause) {
        let (name, by) = ("x".to_owned(), "me".to_owned());
        (id.to_owned(), TimerPause { id: id.to_owned(), name, by, why: None, at_ms: 0 })
    }

    #[test]
    fn what_is_paused_is_dropped_and_keeps_its_grid() {
        let mut schedule = Schedule::new(&ProgramSettings::default());
        let timer = TimerSpec { signal: 3, seconds: 1.0, iterations: 1 };
        schedule.replace(&[timer.clone(), TimerSpec { signal: 4, ..timer }], &[cron([-1; 5])]);
        let entries = schedule.entries(0);
        let ids: Vec<&str> = entries.iter().map(|(entry, _)| entry.id.as_str()).collect();
        schedule.paused = [pause(ids[0]), pause(ids[2])].into();
        let first = schedule.next_timer_ns().unwrap();
        assert_eq!(signals(&mut schedule, first + 10), [4]);
        assert_eq!(schedule.matching(5), []);
        schedule.paused.clear();
        // Its only tick is still to come.
        assert_eq!(signals(&mut schedule, first + 1_000_000_000), [3]);
        assert_eq!(dues(schedule.matching(5)), [Due::Signal(1)]);
    }

    #[test]
    fn an_id_follows_the_handler_and_not_its_signal() {
        let ids = |signal: u8, handler: &str, seconds: f64| {
            let mut schedule = Schedule::default();
            let (target, handler) = (String::new(), handler.to_owned());
            schedule.name_handlers(&[SignalSpec { signal, target, handler }]);
            schedule.replace(&[TimerSpec { signal, seconds, iterations: 0 }], &[]);
            schedule.entries(0)[0].0.id.clone()
        };
        assert_eq!(ids(1, "shop.tick", 1.0), ids(7, "shop.tick", 1.0));
        assert_ne!(ids(1, "shop.tick", 1.0), ids(1, "shop.tock", 1.0));
        assert_ne!(ids(1, "shop.tick", 1.0), ids(1, "shop.tick", 2.0));
    }

    #[test]
    fn missed_timer_ticks_are_dropped_and_the_grid_is_kept() {
        let mut schedule = Schedule::default();
        schedule.replace(&[TimerSpec { signal: 3, seconds: 1.0, iterations: 2 }], &[]);
        let first = schedule.next_timer_ns().unwrap();
        assert!(schedule.due_timers(first - 1).is_empty());
        assert_eq!(signals(&mut schedule, first + 3_500_000_000), [3]);
        assert_eq!(schedule.next_timer_ns(), Some(first + 4_000_000_000));
        assert_eq!(signals(&mut schedule, first + 4_000_000_000), [3]);
        assert_eq!(schedule.next_timer_ns(), None);
    }

    #[test]
    fn a_cron_fires_once_in_its_minute() {
        let mut schedule = Schedule::new(&ProgramSettings::default());
        schedule.replace(&[], &[cron([-1, -1, -1, -1, -1])]);
        schedule.add_cron(CronSpec { signal: 2, ..cron([-1, -1, -1, -1, -1]) }).unwrap();
        let next_ns = schedule.next_minute_ns().unwrap();
        let next = next_ns / MINUTE_NS;
        let own = [Due::Signal(2)];
        let look = |schedule: &mut Schedule, ns| dues(schedule.look(ns));
        assert_eq!(look(&mut schedule, next_ns - 1), []);
        assert_eq!(schedule.decide(), None);
        assert_eq!(look(&mut schedule, next_ns), own);
        assert_eq!(dues(schedule.matching(next)), [Due::Signal(1)]);
        // Undecided, it can be taken over as long as it lasts.
        assert_eq!(look(&mut schedule, next_ns + 50_000_000_000), []);
        assert_eq!(schedule.decide(), Some(next));
        assert_eq!(look(&mut schedule, next_ns + 59_000_000_000), []);
        assert_eq!(schedule.decide(), None);
        // The clock steps back a little: not again.
        assert_eq!(look(&mut schedule, next_ns - 30_000_000_000), []);
        assert_eq!(schedule.decide(), None);
        // Undecided until it is over, it is missed.
        assert_eq!(look(&mut schedule, next_ns + 60_000_000_000), own);
        assert_eq!(look(&mut schedule, next_ns + 120_000_000_000), own);
        assert_eq!(schedule.decide(), Some(next + 2));
    }
}
