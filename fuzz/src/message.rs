//! Messages out of bytes, small and with all that a task file tells apart.

use arbitrary::{Result, Unstructured};
use unspool_core::taskfile::{KEY_AT, KEY_FUNCTION, KEY_PRIORITY, KEY_SPOOLER};
use unspool_core::{Message, TaskPolicy};

/// More than the pairs of a file hold, so that some overflow.
const LONG_BYTES: usize = 30_000;

/// A message. Keys repeat often, and some values are long.
pub fn message(from: &mut Unstructured<'_>) -> Result<Message> {
    let mut pairs = Vec::new();
    for _ in 0..from.int_in_range(0..=12)? {
        let key = match from.int_in_range(0..=7)? {
            0 => KEY_FUNCTION.to_vec(),
            1 => KEY_AT.to_vec(),
            2 => KEY_PRIORITY.to_vec(),
            3 => KEY_SPOOLER.to_vec(),
            4 => b"a".to_vec(),
            5 => b"b".to_vec(),
            6 => b"unspool".to_vec(),
            _ => from.arbitrary::<&[u8]>()?.to_vec(),
        };
        let mut value = from.arbitrary::<&[u8]>()?.to_vec();
        if from.ratio(1, 4)? {
            value.resize(value.len() + from.int_in_range(0..=LONG_BYTES)?, b'x');
        }
        pairs.push((key, value));
    }
    let module = match from.int_in_range(0..=2)? {
        0 => Vec::new(),
        1 => b"shop.tasks".to_vec(),
        _ => from.arbitrary::<&[u8]>()?.to_vec(),
    };
    let body = from.arbitrary::<&[u8]>()?.to_vec();
    let policy = TaskPolicy {
        attempts: from.arbitrary()?,
        delay_ms: from.arbitrary()?,
        time_limit_ms: from.arbitrary()?,
        expires_ms: from.arbitrary()?,
        ..TaskPolicy::default()
    };
    Ok(Message { pairs, body, module, policy, ..Message::default() })
}
