//! The schedule: when timers and crons raise their signals. Missed ticks are dropped.

use jiff::ZonedDateTime;
use jiff::civil::Weekday;
use tracing::warn;
use unspool_sys::clock;
use unspool_wire::control::{CronSpec, TimerSpec};

use super::Supervisor;
use crate::snapshot::{CronSnapshot, TimerSnapshot};

/// Timers and crons of the current generation.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    timers: Vec<Timer>,
    crons: Vec<CronSpec>,
    /// The minute since 1970 for which crons were last looked at.
    minute: i64,
}

#[derive(Debug)]
struct Timer {
    signal: u8,
    every_ns: u64,
    next_ns: u64,
    /// Ticks left; `None`: for ever.
    left: Option<u64>,
}

impl Timer {
    fn new(spec: &TimerSpec, now_ns: u64) -> Option<Self> {
        // As in uWSGI, a timer of 0 seconds never fires.
        if spec.seconds <= 0.0 || !spec.seconds.is_finite() {
            warn!(signal = spec.signal, seconds = spec.seconds, "timer never fires");
            return None;
        }
        let every_ns = ((spec.seconds * 1e9) as u64).max(EVERY_NS_MIN);
        let left = (spec.iterations > 0).then_some(spec.iterations);
        let next_ns = now_ns.saturating_add(every_ns);
        Some(Self { signal: spec.signal, every_ns, next_ns, left })
    }
}

/// Timers, and crons, that there may be.
const SCHEDULES_MAX: usize = 4096;
/// The shortest interval of a timer.
const EVERY_NS_MIN: u64 = 1_000_000;
const MINUTE_NS: i64 = 60_000_000_000;

impl Schedule {
    /// Takes what the application registered. Timers start over, crons do not.
    pub(super) fn replace(&mut self, timers: &[TimerSpec], crons: &[CronSpec]) {
        let now_ns = clock::monotonic_ns();
        self.timers.clear();
        self.timers.extend(timers.iter().filter_map(|spec| Timer::new(spec, now_ns)));
        self.crons = crons.to_vec();
        self.begin_minutes();
    }

    /// Adds a timer at run time.
    pub(super) fn add_timer(&mut self, spec: &TimerSpec) -> Result<(), String> {
        if self.timers.len() >= SCHEDULES_MAX {
            return Err(format!("there are {SCHEDULES_MAX} timers already"));
        }
        self.timers.extend(Timer::new(spec, clock::monotonic_ns()));
        Ok(())
    }

    /// Adds a cron at run time.
    pub(super) fn add_cron(&mut self, spec: CronSpec) -> Result<(), String> {
        if self.crons.len() >= SCHEDULES_MAX {
            return Err(format!("there are {SCHEDULES_MAX} crons already"));
        }
        self.crons.push(spec);
        self.begin_minutes();
        Ok(())
    }

    /// Forgets timers and crons of a signal that has no handler any more.
    pub(super) fn remove(&mut self, signal: u8) {
        self.timers.retain(|timer| timer.signal != signal);
        self.crons.retain(|cron| cron.signal != signal);
    }

    fn begin_minutes(&mut self) {
        if self.minute == 0 {
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
        (!self.crons.is_empty()).then_some((self.minute + 1) * MINUTE_NS)
    }

    /// The signals that are due.
    fn due(&mut self, now_ns: u64, wall_ns: i64) -> Vec<u8> {
        let mut signals = Vec::new();
        for timer in &mut self.timers {
            if timer.next_ns > now_ns {
                continue;
            }
            signals.push(timer.signal);
            // On the grid of its start; ticks that were missed are dropped.
            let missed = (now_ns - timer.next_ns) / timer.every_ns;
            timer.next_ns += (missed + 1) * timer.every_ns;
            if let Some(left) = &mut timer.left {
                *left -= 1;
            }
        }
        self.timers.retain(|timer| timer.left != Some(0));
        let minute = wall_ns.div_euclid(MINUTE_NS);
        if minute > self.minute || minute < self.minute - 60 {
            self.minute = minute;
            let local = jiff::Timestamp::from_second(minute * 60)
                .map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()));
            if let Ok(local) = local {
                signals.extend(self.crons.iter().filter(|c| matches(c, &local)).map(|c| c.signal));
            }
        }
        signals
    }
}

/// Whether a cron fires in a minute of local time, by uWSGI 2.0.31's rules: -1 is any, -N is every
/// N; where both day and weekday are given, one of them suffices.
fn matches(cron: &CronSpec, time: &ZonedDateTime) -> bool {
    let field = |wanted: i32, value: i32| match wanted {
        -1 => true,
        n if n < -1 => value % -n == 0,
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
    /// Raises the signals whose time has come.
    pub(super) fn raise_due_ticks(&mut self) {
        if self.ladder.is_some() || self.zygote.is_none() {
            return;
        }
        let signals = self.schedule.due(clock::monotonic_ns(), clock::now_ns());
        for signal in signals {
            self.raise(signal);
        }
        self.arm_wall();
    }

    /// Sets the wall timer to the next minute, if there are crons.
    fn arm_wall(&mut self) {
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
        ] {
            assert_eq!(matches(&cron(fields), &time), expect, "{fields:?}");
        }
        let sunday = jiff::civil::date(2026, 11, 22).at(0, 0, 0, 0).in_tz("UTC").unwrap();
        assert!(matches(&cron([-1, -1, -1, -1, 0]), &sunday));
        assert!(matches(&cron([-1, -1, -1, -1, 7]), &sunday));
    }

    #[test]
    fn missed_timer_ticks_are_dropped_and_the_grid_is_kept() {
        let mut schedule = Schedule::default();
        schedule.replace(&[TimerSpec { signal: 3, seconds: 1.0, iterations: 2 }], &[]);
        let first = schedule.next_timer_ns().unwrap();
        assert!(schedule.due(first - 1, 0).is_empty());
        assert_eq!(schedule.due(first + 3_500_000_000, 0), [3]);
        assert_eq!(schedule.next_timer_ns(), Some(first + 4_000_000_000));
        assert_eq!(schedule.due(first + 4_000_000_000, 0), [3]);
        assert_eq!(schedule.next_timer_ns(), None);
    }

    #[test]
    fn a_cron_fires_once_in_its_minute() {
        let mut schedule = Schedule::default();
        schedule.replace(&[], &[cron([-1, -1, -1, -1, -1])]);
        let next = schedule.next_minute_ns().unwrap();
        assert!(schedule.due(0, next - 1).is_empty());
        assert_eq!(schedule.due(0, next), [1]);
        assert!(schedule.due(0, next + 59_000_000_000).is_empty());
        // The clock steps back a little: not again.
        assert!(schedule.due(0, next - 30_000_000_000).is_empty());
        assert_eq!(schedule.due(0, next + 60_000_000_000), [1]);
    }
}
