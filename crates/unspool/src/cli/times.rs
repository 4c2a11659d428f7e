//! Ages and times as people type them.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use unspool_core::due::parse_at;
use unspool_sys::clock;

/// A hundred years: more is a mistake.
const AGE_SECONDS_MAX: f64 = 3_155_760_000.0;

/// Units, and their seconds.
const UNITS: [(&str, f64); 15] = [
    ("ms", 0.001),
    ("", 1.0),
    ("s", 1.0),
    ("sec", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
    ("d", 86_400.0),
    ("day", 86_400.0),
    ("days", 86_400.0),
    ("w", 604_800.0),
    ("week", 604_800.0),
    ("weeks", 604_800.0),
];

/// Reads an age: numbers with a unit each, or seconds.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || {
        "give a number with a unit, such as `90s`, `15min`, `3h`, `2d` or `1w`, or seconds"
            .to_owned()
    };
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (number, (_, unit_seconds)) =
            number.parse::<f64>().ok().zip(known).ok_or_else(wrong)?;
        seconds += number * unit_seconds;
        rest = tail.trim_start();
    }
    if seconds > AGE_SECONDS_MAX {
        return Err("that is more than a hundred years".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a time, and returns nanoseconds since 1970: `now`, seconds, a local date and time, or one with
/// a zone.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(clock::now_ns());
    }
    // A task may say -5 and mean now, as in uWSGI; who types it means something else.
    if let Ok(due_ns) = parse_at(text.as_bytes())
        && !text.is_empty()
        && !text.starts_with('-')
    {
        return Ok(due_ns.unwrap_or_else(clock::now_ns));
    }
    let zoned = || text.parse::<ZonedDateTime>().ok().map(|zoned| zoned.timestamp());
    let stamp = || text.parse::<Timestamp>().ok();
    let local = || {
        let civil = text.parse::<DateTime>().ok()?;
        Some(civil.to_zoned_datetime(TimeZone::system()).ok()?.timestamp())
    };
    let found = zoned().or_else(stamp).or_else(local).ok_or_else(|| {
        "give `now`, seconds since 1970, or a time such as `2026-11-26 14:03` (local) or \
         `2026-11-26T14:03:00Z`"
            .to_owned()
    })?;
    Ok(i64::try_from(found.as_nanosecond()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_numbers_with_units() {
        for (text, seconds) in [
            ("90", Some(90.0)),
            ("250ms", Some(0.25)),
            ("1.5h", Some(5400.0)),
            ("2d12h", Some(216_000.0)),
            ("3 h 12 min", Some(11_520.0)),
            ("2d", Some(172_800.0)),
            ("1w", Some(604_800.0)),
            ("0", Some(0.0)),
            ("", None),
            ("h", None),
            ("5 parsecs", None),
            ("1..2s", None),
            ("nan", None),
            ("-5", None),
            ("1000000000000", None),
        ] {
            let read = parse_age(text).ok().map(|age| age.as_secs_f64());
            assert_eq!(read, seconds, "{text}");
        }
    }

    #[test]
    fn a_time_is_seconds_or_a_date() {
        assert_eq!(parse_time("1795419124.5"), Ok(1_795_419_124_500_000_000));
        assert_eq!(parse_time("2026-11-26T14:03:00Z"), Ok(1_795_701_780_000_000_000));
        assert_eq!(parse_time("2026-11-26T14:03:00+01:00"), Ok(1_795_698_180_000_000_000));
        assert!(parse_time("2026-11-26 14:03").is_ok());
        for bad in ["", "soon", "2026-13-01 00:00", "1e9", "-5"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
