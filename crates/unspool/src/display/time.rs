//! Times and ages.

const SECOND_NS: u64 = 1_000_000_000;
/// Units with their names, the largest first.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// A time in nanoseconds since 1970, where the machine stands: `2026-11-26 14:03:11`.
pub(crate) fn time(ns: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(ns)) else { return "?".to_owned() };
    if ns == i64::MAX {
        // As far away as the type allows.
        return "never".to_owned();
    }
    let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A length of time in its two largest units: `3 h 12 min`.
pub(crate) fn age(ns: u64) -> String {
    if ns < SECOND_NS {
        return format!("{} ms", ns / 1_000_000);
    }
    let seconds = ns / SECOND_NS;
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[largest];
    let first = format!("{} {name}", seconds / unit);
    match UNITS.get(largest + 1) {
        Some((smaller, name)) if seconds % unit >= *smaller => {
            format!("{first} {} {name}", seconds % unit / smaller)
        }
        _ => first,
    }
}

/// The same of a measured or foretold one, in seconds, rounded; nothing is shorter than nothing.
pub(crate) fn span(seconds: f64) -> String {
    let precision = if seconds < 0.9995 { 1e3 } else { 1.0 };
    age(((seconds.max(0.0) * precision).round() * (1e9 / precision)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        for (seconds, shown) in [
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (192, "3 min 12 s"),
            (11_520, "3 h 12 min"),
            (3605, "1 h"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d"),
        ] {
            assert_eq!(age(seconds * SECOND_NS), shown);
        }
        assert_eq!((age(0), age(120_000_000)), ("0 ms".into(), "120 ms".into()));
    }

    #[test]
    fn a_span_is_rounded() {
        let spans = [(-1.0, "0 ms"), (0.0421, "42 ms"), (8.2, "8 s"), (59.9, "1 min")];
        for (seconds, shown) in spans {
            assert_eq!(span(seconds), shown);
        }
    }
}
