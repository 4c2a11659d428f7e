//! Display: how times, ages, states, tables, foreign text and words of a shell are shown to people. Decides nothing and
//! prints nothing by itself.

mod json;
mod number;
mod pause;
mod shell;
mod table;
mod text;
mod time;

use unspool_core::taskfile::TaskId;
use unspool_spool::{PREFIX, TaskState};

pub(crate) use self::json::{json_block, json_escaped, json_line};
pub(crate) use self::number::{count, grouped};
pub(crate) use self::pause::{pause_object, paused};
pub(crate) use self::shell::{shell_path, shell_word};
pub(crate) use self::table::{Cell, Column, Paint, Table};
pub(crate) use self::text::{clean, clean_lines, clipped, is_obeyed, padded, width};
pub(crate) use self::time::{age, span, time};

/// Digits of an id that a table shows.
const SHORT_DIGITS: usize = 8;

/// What names a task in a table: the end of its id, or else its file's name without what all have.
pub(crate) fn short_id(id: Option<TaskId>, name: &[u8]) -> String {
    match id {
        Some(id) => {
            let mut digits = id.to_string();
            digits.split_off(digits.len() - SHORT_DIGITS)
        }
        None => clean(&String::from_utf8_lossy(name.strip_prefix(PREFIX).unwrap_or(name))),
    }
}

/// The colour of a state.
pub(crate) fn paint(state: TaskState) -> Paint {
    match state {
        TaskState::Running => Paint::Good,
        TaskState::Retrying | TaskState::Torn => Paint::Warning,
        TaskState::Dead | TaskState::Corrupt => Paint::Bad,
        TaskState::Delayed | TaskState::Paused | TaskState::Held => Paint::Quiet,
        _ => Paint::Plain,
    }
}
