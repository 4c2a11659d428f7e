//! A task as JSON.

use serde_json::{Map, Value, json};
use unspool_core::Priority;
use unspool_spool::submitter;

use super::{Known, policy};
use crate::arguments::Value as Argument;
use crate::display::pause_object;

pub(super) fn json(known: &Known<'_>) -> Value {
    let seen = known.seen;
    let seconds = |ns: i64| ns as f64 / 1e9;
    let priority = known.priority.as_ref().map(Priority::as_bytes);
    let paused = known.pauses.as_ref();
    let paused = paused.map(|all| all.iter().map(|pause| pause_object(pause)).collect::<Vec<_>>());
    let by = submitter(seen.whereabouts.name())
        .map(|(host, pid)| json!({ "host": String::from_utf8_lossy(host), "pid": pid }));
    let signature = known
        .signature
        .as_ref()
        .map(|signature| json!({ "key": signature.key, "holds": signature.holds }));
    let mut object = json!({
        "spool": known.spool.to_string_lossy(),
        "path": known.path.to_string_lossy(),
        "id": seen.id.map(|id| id.to_string()),
        "name": String::from_utf8_lossy(seen.whereabouts.name()),
        "state": seen.state.as_str(),
        "function": seen.function.as_deref().map(String::from_utf8_lossy),
        "module": known.module(),
        "priority": priority.map(String::from_utf8_lossy),
        "submitted_at": seconds(seen.submitted_ns),
        "submitted_by": by,
        "due_at": seconds(seen.due_ns),
        "age_s": seconds(known.now_ns.saturating_sub(seen.submitted_ns)),
        "attempts": known.failed(),
        "paused": paused,
        "policy": policy::json(&seen.policy),
        "signature": signature,
        "bytes": seen.stat.bytes,
        "owner": seen.stat.owner,
        "damage": known.task.as_ref().err().map(ToString::to_string),
        "history": known.history,
        "relay": known.relay.as_ref().map(|(address, _)| address),
    });
    if let (Some(arguments), Value::Object(fields)) = (&known.arguments, &mut object) {
        let named = arguments.named.iter().map(|(name, value)| (name.clone(), value.json()));
        let unreadable = arguments
            .unreadable
            .map(|(bytes, why)| json!({ "bytes": bytes, "why": why.to_string() }));
        let body = arguments.body.as_ref().map(Argument::json);
        let bytes = known.task.as_ref().map_or(0, |task| task.body.len());
        fields.insert("args".into(), arguments.positional.iter().map(Argument::json).collect());
        fields.insert("kwargs".into(), Value::Object(named.collect::<Map<_, _>>()));
        fields.insert("unreadable_pickle".into(), json!(unreadable));
        fields.insert("body".into(), json!(body));
        fields.insert("body_bytes".into(), json!(bytes));
    }
    object
}
