//! A pause.

use serde_json::{Value, json};
use unspool_spool::Pause;

use super::{clean, time};

/// Who paused something, when and why.
pub(crate) fn paused(pause: &Pause) -> String {
    let why = if pause.why.is_empty() { String::new() } else { format!(": {}", clean(&pause.why)) };
    format!("paused by {} at {}{why}", clean(&pause.by), time(pause.at_ns))
}

/// A pause for programs.
pub(crate) fn pause_object(pause: &Pause) -> Value {
    json!({
        "scope": pause.scope.kind(),
        "name": pause.scope.name(),
        "by": pause.by,
        "at": pause.at_ns as f64 / 1e9,
        "why": pause.why,
    })
}
