//! The schedule: when timers and crons raise their signals, and commands of crons run. Missed ticks
//! are dropped. Whether this daemon is the one that fires is decided in `leader`.

use jiff::ZonedDateTime;
use jiff::civil::Weekday;
use tracing::warn;
use unspool_sys::clock;
use unspool_wire::control::{CronSpec, TimerSpec};

use super::Supervisor;
use crate::programs::{CronFields, ProgramSettings};
use crate::snapshot::{CronSnapshot, TimerSnapshot};

/// Timers and crons: those of the configuration, and those of the current generation.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Timers of the configuration.
    fixed: Vec<TimerSpec>,
    /// When the commands of the configuration run.
    commands: Vec<CronFields>,
    timers: Vec<Timer>,
    /// Those that the import registered.
    crons: Vec<CronSpec>,
    /// Those that a process of this daemon registered at run time.
    own_crons: Vec<CronSpec>,
    /// The minute since 1970 for which crons were last looked at.
    minute: i64,
    /// That minute, while nobody has decided whether this daemon fires it.
    open: Option<i64>,
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
        Some(Self { signal: spec.signal, every_ns, next_ns, left, own })
    }
}

/// Timers, and crons, that there may be.
const SCHEDULES_MAX: usize = 4096;
/// The shortest interval of a timer.
const EVERY_NS_MIN: u64 = 1_000_000;
const MINUTE_NS: i64 = 60_000_000_000;

impl Schedule {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        Self {
            fixed: settings.timers.clone(),
            commands: settings.crons.iter().map(|cron| cron.when).collect(),
            minute: clock::now_ns().div_euclid(MINUTE_NS),
            ..Self::default()
        }
    }

    /// Whether anything could be due that another daemon of the configuration has too.
    pub(super) fn is_shared(&self) -> bool {
        let crons = !self.crons.is_empty() || !self.commands.is_empty();
        crons || self.timers.iter().any(|timer| !timer.own)
    }

    fn has_crons(&self) -> bool {
        !self.crons.is_empty() || !self.commands.is_empty() || !self.own_crons.is_empty()
    }

    /// Takes what the application registered. Timers start over, crons do not.
    pub(super) fn replace(&mut self, timers: &[TimerSpec], crons: &[CronSpec]) {
        let now_ns = clock::monotonic_ns();
        self.timers.clear();
        self.timers.extend(
            self.fixed.iter().chain(timers).filter_map(|spec| Timer::new(spec, now_ns, false)),
        );
        self.begin_minutes();
        self.crons = crons.to_vec();
        self.own_crons.clear();
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

    /// The signals of timers that are due, and whether no other daemon has the timer.
    pub(super) fn due_timers(&mut self, now_ns: u64) -> Vec<(u8, bool)> {
        let mut signals = Vec::new();
        for timer in &mut self.timers {
            if timer.next_ns > now_ns {
                continue;
            }
            signals.push((timer.signal, timer.own));
            // On the grid of its start; ticks that were missed are dropped.
            let missed = (now_ns - timer.next_ns) / timer.every_ns;
            timer.next_ns += (missed + 1) * timer.every_ns;
            if let Some(left) = &mut timer.left {
                *left -= 1;
            }
        }
        self.timers.retain(|timer| timer.left != Some(0));
        signals
    }

    /// Looks at the clock. Returns what fires here in any case, at the begin of a minute.
    pub(super) fn look(&mut self, wall_ns: i64) -> Vec<Due> {
        let minute = wall_ns.div_euclid(MINUTE_NS);
        let begins = minute > self.minute || minute < self.minute - 60;
        if begins {
            self.minute = minute;
            self.open = Some(minute);
        }
        // One that passed undecided is missed.
        self.open = self.open.filter(|open| *open == minute);
        if begins { signals(&self.own_crons, local(minute).as_ref()) } else { Vec::new() }
    }

    /// The current minute, if nobody has decided whether this daemon fires it: now this one does.
    pub(super) fn decide(&mut self) -> Option<i64> {
        self.open.take()
    }

    /// What the one daemon that fires does in a minute.
    pub(super) fn matching(&self, minute: i64) -> Vec<Due> {
        let local = local(minute);
        let mut due = signals(&self.crons, local.as_ref());
        if let Some(local) = &local {
            let all = self.commands.iter().enumerate();
            let commands = all.filter(|(_, when)| matches(when, local));
            due.extend(commands.map(|(number, _)| Due::Command(number)));
        }
        due
    }
}

fn signals(crons: &[CronSpec], time: Option<&ZonedDateTime>) -> Vec<Due> {
    let Some(time) = time else { return Vec::new() };
    let due = crons.iter().filter(|cron| matches(&CronFields::from(*cron), time));
    due.map(|cron| Due::Signal(cron.signal)).collect()
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

/// Whether a cron fires in a minute of local time, by uWSGI 2.0.31's rules: -1 is any, -N is every
/// N; where both day and weekday are given, one of them suffices.
fn matches(cron: &CronFields, time: &ZonedDateTime) -> bool {
    let field = |wanted: i32, value: i32| match wanted {
        -1 => true,
        n if n < -1 => value.unsigned_abs().is_multiple_of(n.unsigned_abs()),
        n => n == value,
    };
    let day = i32::from(time.day());
    let weekday = match time.weekday() {
        Weekday::Sunday => 0,
        other => i32::from(other.to_monday_one_offset()),
    };
    let on_weekday = field(if cron.weekday == 7 { 0 } else { cron.weekday }, weekday);
    let on_day = field(cron.day, day);
    let dated = if cron.day >= 0 && cron.weekday >= 0 {
        on_day || on_weekday
    } else {
        on_day && on_weekday
    };
    dated
        && field(cron.minute, i32::from(time.minute()))
        && field(cron.hour, i32::from(time.hour()))
        && field(cron.month, i32::from(time.month()))
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

    #[test]
    fn crons_match_by_uwsgi_rules() {
        // 2026-11-23 is a Monday.
        let time = jiff::civil::date(2026, 11, 23).at(14, 30, 0, 0).in_tz("UTC").unwrap();
        for (fields, expect) in [
            ([-1, -1, -1, -1, -1], true),
            ([30, 14, 23, 11, 1], true),
            ([31, -1, -1, -1, -1], false),
            ([-5, -1, -1, -1, -1], true),
            ([-7, -1, -1, -1, -1], false),
            ([30, -7, -1, -1, -1], true),
            ([-1, -1, -1, -1, 0], false),
            ([-1, -1, -1, -1, 7], false),
            ([-1, -1, 1, -1, 1], true),
            ([-1, -1, 23, -1, 5], true),
            ([-1, -1, 1, -1, 5], false),
            ([-1, -1, -1, 12, -1], false),
            ([i32::MIN, -1, -1, -1, -1], false),
            ([i32::MAX, -1, -1, -1, -1], false),
        ] {
            assert_eq!(matches(&(&cron(fields)).into(), &time), expect, "{fields:?}");
        }
        let sunday = jiff::civil::date(2026, 11, 22).at(0, 0, 0, 0).in_tz("UTC").unwrap();
        assert!(matches(&(&cron([-1, -1, -1, -1, 0])).into(), &sunday));
        assert!(matches(&(&cron([-1, -1, -1, -1, 7])).into(), &sunday));
    }

    #[test]
    fn missed_timer_ticks_are_dropped_and_the_grid_is_kept() {
        let mut schedule = Schedule::default();
        schedule.replace(&[TimerSpec { signal: 3, seconds: 1.0, iterations: 2 }], &[]);
        let first = schedule.next_timer_ns().unwrap();
        assert!(schedule.due_timers(first - 1).is_empty());
        assert_eq!(schedule.due_timers(first + 3_500_000_000), [(3, false)]);
        assert_eq!(schedule.next_timer_ns(), Some(first + 4_000_000_000));
        assert_eq!(schedule.due_timers(first + 4_000_000_000), [(3, false)]);
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
        assert_eq!(schedule.look(next_ns - 1), []);
        assert_eq!(schedule.decide(), None);
        assert_eq!(schedule.look(next_ns), own);
        assert_eq!(schedule.matching(next), [Due::Signal(1)]);
        // Undecided, it can be taken over as long as it lasts.
        assert_eq!(schedule.look(next_ns + 50_000_000_000), []);
        assert_eq!(schedule.decide(), Some(next));
        assert_eq!(schedule.look(next_ns + 59_000_000_000), []);
        assert_eq!(schedule.decide(), None);
        // The clock steps back a little: not again.
        assert_eq!(schedule.look(next_ns - 30_000_000_000), []);
        assert_eq!(schedule.decide(), None);
        // Undecided until it is over, it is missed.
        assert_eq!(schedule.look(next_ns + 60_000_000_000), own);
        assert_eq!(schedule.look(next_ns + 120_000_000_000), own);
        assert_eq!(schedule.decide(), Some(next + 2));
    }
}
