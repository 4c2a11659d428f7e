//! Due times: the value of the key `at`, and nanoseconds since 1970.

/// The value of `at` is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`at` is `{given}`, which is no time: give seconds since 1970, for example 1795419124 or \
     1795419124.25"
)]
pub struct InvalidAt {
    /// What was given.
    pub given: String,
}

/// Reads the value of `at`: decimal seconds since 1970 with an optional fraction.
///
/// Returns nanoseconds. An empty value, zero or a negative number means "now" (`None`), as in
/// uWSGI; unlike uWSGI, which reads any bytes as digits, garbage is an error.
pub fn parse_at(value: &[u8]) -> Result<Option<i64>, InvalidAt> {
    let invalid = || InvalidAt { given: String::from_utf8_lossy(value).chars().take(64).collect() };
    let text = std::str::from_utf8(value).map_err(|_| invalid())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return Err(invalid());
    }
    let seconds: i64 = whole.parse().map_err(|_| invalid())?;
    let nanos = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    // Beyond the year 2262 means never, which is what 2262 is.
    let due = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Ok((due > 0 && !negative).then_some(due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_is_decimal_seconds() {
        for (given, expect) in [
            (&b"1795419124"[..], Ok(Some(1_795_419_124_000_000_000))),
            (b"1795419124.25", Ok(Some(1_795_419_124_250_000_000))),
            (b"1795419124.0000000019", Ok(Some(1_795_419_124_000_000_001))),
            (b" 17 ", Ok(Some(17_000_000_000))),
            (b"5.", Ok(Some(5_000_000_000))),
            (b"", Ok(None)),
            (b"0", Ok(None)),
            (b"-3.5", Ok(None)),
            (b"abc", Err(())),
            (b"2e9", Err(())),
            (b".5", Err(())),
            (b"99999999999999999999", Err(())),
            (b"9999999999", Ok(Some(i64::MAX))),
            (b"9223372036854775807", Ok(Some(i64::MAX))),
            (b"\xff", Err(())),
        ] {
            assert_eq!(parse_at(given).map_err(|_| ()), expect, "{given:?}");
        }
    }
}
