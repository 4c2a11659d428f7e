//! What a task asks for itself.

use serde_json::{Map, Value, json};
use unspool_core::TaskPolicy;

use crate::display::{age, time};

const MS_NS: u64 = 1_000_000;

/// For people, a sentence for each; empty where it asks for nothing.
pub(super) fn text(policy: &TaskPolicy) -> Vec<String> {
    let long = |ms: u64| age(ms.saturating_mul(MS_NS));
    let many =
        |count: u8| if count == 0 { "any number of".to_owned() } else { format!("up to {count}") };
    let mut asks = Vec::new();
    asks.extend(policy.attempts.map(|count| format!("{} attempts", many(count))));
    asks.extend(policy.deaths.map(|count| format!("{} deaths of its worker", many(count))));
    asks.extend(policy.retries.map(|count| format!("{} retries that it asks for", many(count))));
    asks.extend(policy.delay_ms.map(|ms| format!("{} between attempts", long(ms))));
    asks.extend(policy.backoff_from.map(|from| match from {
        0 => "that time never doubles".to_owned(),
        from => format!("doubling from attempt {from} on"),
    }));
    asks.extend(policy.delay_max_ms.map(|ms| format!("at most {}", long(ms))));
    asks.extend(policy.soft_limit_ms.map(|ms| format!("an exception after {}", long(ms))));
    asks.extend(policy.time_limit_ms.map(|ms| format!("killed after {}", long(ms))));
    let ns = |ms: u64| i64::try_from(ms.saturating_mul(MS_NS)).unwrap_or(i64::MAX);
    asks.extend(policy.expires_ms.map(|ms| format!("given up if not started by {}", time(ns(ms)))));
    asks
}

/// What it asks for, under the names of the command line's options.
pub(super) fn json(policy: &TaskPolicy) -> Value {
    let seconds = |ms: Option<u64>| ms.map(|ms| json!(ms as f64 / 1e3));
    let count = |count: Option<u8>| count.map(|count| json!(count));
    let asks = [
        ("max_attempts", count(policy.attempts)),
        ("max_deaths", count(policy.deaths)),
        ("max_retries", count(policy.retries)),
        ("retry_delay_s", seconds(policy.delay_ms)),
        ("backoff_from", count(policy.backoff_from)),
        ("backoff_max_s", seconds(policy.delay_max_ms)),
        ("soft_time_limit_s", seconds(policy.soft_limit_ms)),
        ("time_limit_s", seconds(policy.time_limit_ms)),
        ("expires_at", seconds(policy.expires_ms)),
    ];
    let asked = asks.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(asked.collect::<Map<_, _>>())
}
