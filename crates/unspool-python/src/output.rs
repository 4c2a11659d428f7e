//! What this worker prints: its last is kept where the daemon can read it.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;
use unspool_sys::tail::{TailRow, TailTable};

/// Never held while Python code runs, and only with the interpreter lock, so that no fork finds it
/// taken.
static TAIL: Mutex<Option<(TailTable, usize)>> = Mutex::new(None);

/// Keeps output in this row from now on.
pub(crate) fn keep(table: TailTable, row: usize) {
    *TAIL.lock().unwrap_or_else(PoisonError::into_inner) = Some((table, row));
}

fn with_row<T>(act: impl FnOnce(&TailRow) -> T) -> Option<T> {
    let tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    let (table, row) = tail.as_ref()?;
    table.row(*row).map(act)
}

/// What is printed from here on belongs to another task.
pub(crate) fn begin() {
    with_row(TailRow::begin);
}

/// The last that the running task printed.
pub(crate) fn output() -> String {
    let bytes = with_row(TailRow::output).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Keeps a text that was printed. Returns whether anybody wants it: in a worker that runs tasks.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn note_output(text: &Bound<'_, PyString>) -> bool {
    // A text with surrogates is no UTF-8.
    let text = text.to_string_lossy();
    with_row(|row| row.note(text.as_bytes())).is_some()
}

/// Where in the file of all workers the one of that row writes its last words.
#[pyfunction]
#[pyo3(signature = (row, /))]
pub(crate) fn last_words_offset(row: usize) -> u64 {
    TailTable::last_words_offset(row)
}
