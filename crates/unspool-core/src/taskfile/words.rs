//! What a task asks for itself, as words of our own pair: ` attempts=3 hard=60000`.
//!
//! In a fixed order, each at most once, decimal without leading zeros: what is read is exactly what
//! is written.

use crate::TaskPolicy;

/// The longest that the words can be.
const WORDS_BYTES_MAX: usize = 9 * 32;

/// Each word's name and value, in the order of the file.
fn values(policy: &TaskPolicy) -> [(&'static str, Option<u64>); 9] {
    [
        ("attempts", policy.attempts.map(u64::from)),
        ("deaths", policy.deaths.map(u64::from)),
        ("retries", policy.retries.map(u64::from)),
        ("delay", policy.delay_ms),
        ("backoff", policy.backoff_from.map(u64::from)),
        ("longest", policy.delay_max_ms),
        ("soft", policy.soft_limit_ms),
        ("hard", policy.time_limit_ms),
        ("expires", policy.expires_ms),
    ]
}

/// The words of a policy, each with a blank before it.
pub(super) fn write(policy: &TaskPolicy) -> Vec<u8> {
    let mut out = Vec::new();
    if *policy == TaskPolicy::default() {
        return out;
    }
    out.reserve(WORDS_BYTES_MAX);
    for (name, value) in values(policy) {
        if let Some(value) = value {
            out.extend_from_slice(format!(" {name}={value}").as_bytes());
        }
    }
    out
}

/// Takes the words at the start of a text; returns what follows them. `None`: a word is not one that
/// [`write`] makes.
pub(super) fn take(mut text: &[u8]) -> Option<(TaskPolicy, &[u8])> {
    let mut policy = TaskPolicy::default();
    let mut last = None;
    while let Some((name, value, rest)) = next(text) {
        let place = values(&policy).iter().position(|(known, _)| known.as_bytes() == name);
        let Some(place) = place else { break };
        if last.is_some_and(|last| last >= place) {
            return None;
        }
        last = Some(place);
        let value = number(value)?;
        let small = u8::try_from(value).ok();
        match place {
            0 => policy.attempts = Some(small?),
            1 => policy.deaths = Some(small?),
            2 => policy.retries = Some(small?),
            3 => policy.delay_ms = Some(value),
            4 => policy.backoff_from = Some(small?),
            5 => policy.delay_max_ms = Some(value),
            6 => policy.soft_limit_ms = Some(value),
            7 => policy.time_limit_ms = Some(value),
            _ => policy.expires_ms = Some(value),
        }
        text = rest;
    }
    Some((policy, text))
}

/// Splits ` name=value` off.
fn next(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = text.strip_prefix(b" ")?;
    let (word, rest) = rest.split_at(rest.iter().position(|b| *b == b' ').unwrap_or(rest.len()));
    let sign = word.iter().position(|b| *b == b'=')?;
    Some((&word[..sign], &word[sign + 1..], rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 20;
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> TaskPolicy {
        TaskPolicy {
            attempts: Some(255),
            deaths: Some(0),
            retries: Some(7),
            delay_ms: Some(u64::MAX),
            backoff_from: Some(1),
            delay_max_ms: Some(10),
            soft_limit_ms: Some(1),
            time_limit_ms: Some(2),
            expires_ms: Some(1_795_664_607_306),
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        let text = write(&full());
        assert!(text.len() <= WORDS_BYTES_MAX);
        assert_eq!(take(&text), Some((full(), &b""[..])));
        let one = TaskPolicy { soft_limit_ms: Some(1500), ..TaskPolicy::default() };
        assert_eq!(write(&one), b" soft=1500");
        assert_eq!(take(b" soft=1500 kid=a"), Some((one, &b" kid=a"[..])));
        assert_eq!(take(b""), Some((TaskPolicy::default(), &b""[..])));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            &b" attempts=256"[..],
            b" attempts=",
            b" attempts=01",
            b" attempts=+1",
            b" attempts=3 attempts=3",
            b" deaths=1 attempts=3",
            b" delay=99999999999999999999",
            b" delay=1x",
        ] {
            assert_eq!(take(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
