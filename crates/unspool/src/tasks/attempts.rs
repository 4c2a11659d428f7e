//! The record of a task's attempts, as it may be shown: what applications raise and print may have
//! secrets in it. Capsules have the record as it is.

use unspool_config::without_secrets;
use unspool_spool::{Attempt, RecordError, SpoolView, view_attempts};

/// The attempts of a task, the oldest first, and what of their record cannot be read.
pub(crate) fn shown_attempts(view: &SpoolView, name: &[u8]) -> (Vec<Attempt>, Vec<RecordError>) {
    let (attempts, unread) = view_attempts(view, name);
    (attempts.into_iter().map(shown_attempt).collect(), unread)
}

/// One of them.
pub(crate) fn shown_attempt(mut attempt: Attempt) -> Attempt {
    for text in [&mut attempt.error, &mut attempt.traceback, &mut attempt.output] {
        *text = without_secrets(text);
    }
    attempt
}
