//! The minutes in which crons fire, by uWSGI's rules.

use jiff::ZonedDateTime;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::programs::CronFields;

/// Days that are looked through for the next minute: the 29th of February may be eight years away.
const DAYS_MAX: usize = 3000;

/// Whether a cron fires in a minute of local time, by uWSGI 2.0.31's rules: -1 is any, -N is every
/// N; where both day and weekday are given, one of them suffices.
pub(super) fn matches(cron: &CronFields, time: &ZonedDateTime) -> bool {
    fires_on(cron, time.date()) && fires_at(cron, time.hour(), time.minute())
}

fn fires_on(cron: &CronFields, date: Date) -> bool {
    let weekday = match date.weekday() {
        Weekday::Sunday => 0,
        other => i32::from(other.to_monday_one_offset()),
    };
    let on_weekday = field(if cron.weekday == 7 { 0 } else { cron.weekday }, weekday);
    let on_day = field(cron.day, i32::from(date.day()));
    let dated = if cron.day >= 0 && cron.weekday >= 0 {
        on_day || on_weekday
    } else {
        on_day && on_weekday
    };
    dated && field(cron.month, i32::from(date.month()))
}

fn fires_at(cron: &CronFields, hour: i8, minute: i8) -> bool {
    field(cron.minute, i32::from(minute)) && field(cron.hour, i32::from(hour))
}

fn field(wanted: i32, value: i32) -> bool {
    match wanted {
        -1 => true,
        n if n < -1 => value.unsigned_abs().is_multiple_of(n.unsigned_abs()),
        n => n == value,
    }
}

/// The first minute after a time in which a cron fires, both in milliseconds since 1970; `None` if there
/// is none within eight years.
pub fn next_minute(when: [i32; 5], zone: &TimeZone, after_ms: i64) -> Option<i64> {
    let [minute, hour, day, month, weekday] = when;
    let cron = CronFields { minute, hour, day, month, weekday };
    let after = jiff::Timestamp::from_millisecond(after_ms).ok()?;
    let mut date = after.to_zoned_datetime(zone.clone()).date();
    for _ in 0..DAYS_MAX {
        let minutes = (0..24i8).flat_map(|hour| (0..60i8).map(move |minute| (hour, minute)));
        if fires_on(&cron, date) {
            let found = minutes.filter(|(hour, minute)| fires_at(&cron, *hour, *minute)).find_map(
                |(hour, minute)| {
                    let zoned = date.at(hour, minute, 0, 0).to_zoned_datetime(zone.clone()).ok()?;
                    // One that a change of the clocks skips is moved: then it is another minute.
                    let is_there = matches(&cron, &zoned) && zoned.timestamp() > after;
                    is_there.then(|| zoned.timestamp().as_millisecond())
                },
            );
            if found.is_some() {
                return found;
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron([minute, hour, day, month, weekday]: [i32; 5]) -> CronFields {
        CronFields { minute, hour, day, month, weekday }
    }

    #[test]
    fn the_next_minute_is_after_now() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let now = at("2026-11-26T14:03:11Z");
        for (when, next) in [
            ([-1, -1, -1, -1, -1], Some("2026-11-26T14:04:00Z")),
            ([3, 14, -1, -1, -1], Some("2026-11-27T14:03:00Z")),
            ([-30, -1, -1, -1, -1], Some("2026-11-26T14:30:00Z")),
            ([0, 3, -1, -1, 0], Some("2026-11-29T03:00:00Z")),
            ([0, 0, 29, 2, -1], Some("2028-02-29T00:00:00Z")),
            ([0, 0, 30, 2, -1], None),
            ([61, -1, -1, -1, -1], None),
        ] {
            assert_eq!(next_minute(when, &TimeZone::UTC, now), next.map(at), "{when:?}");
        }
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
            assert_eq!(matches(&cron(fields), &time), expect, "{fields:?}");
        }
        let sunday = jiff::civil::date(2026, 11, 22).at(0, 0, 0, 0).in_tz("UTC").unwrap();
        assert!(matches(&cron([-1, -1, -1, -1, 0]), &sunday));
        assert!(matches(&cron([-1, -1, -1, -1, 7]), &sunday));
    }
}
