//! What a daemon knows of its spool: the same as the files tell, without a look at each.

use std::time::Duration;

use unspool_core::Priority;
use unspool_spool::{Asked, Census, Depth, SpoolView, ask_documents, census_kept};
use unspool_supervisor::snapshot::{self, StatusSnapshot};

/// How long a daemon may take to answer; then the files are looked at.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(300);
/// An older account of a daemon does not count.
const AGE_MS_MAX: u64 = 1000;

/// The tasks of each folder, and all of them together: when the next one is due, and how many bytes they
/// have, is known of all alone. `None` if no one daemon knows all that is pending.
pub(super) fn told(view: &SpoolView, now_ns: i64) -> Option<(Census, Depth)> {
    let answers = ask_documents(view.path(), Asked::Status, ANSWER_WAIT_MAX);
    // What runs in one of several daemons is due for the others.
    if answers.len() > 1 {
        return None;
    }
    let mut answers = answers.into_iter().filter_map(|(_, answer)| {
        let status: StatusSnapshot = serde_json::from_slice(&answer.ok()?).ok()?;
        let spool = status.spool;
        (spool.complete && spool.age_ms.is_some_and(|age| age <= AGE_MS_MAX)).then_some(spool)
    });
    let spool = answers.next()?;
    let ns = |ms: u64| i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    let all = Depth {
        bytes: spool.bytes,
        oldest_due_ns: spool.oldest_due_ms.map(|ms| now_ns.saturating_sub(ns(ms))),
        next_due_ns: spool.next_due_at.map(|at| at.saturating_mul(1_000_000_000)),
        ..depth(spool.tasks)
    };
    let folders = spool.priorities.iter().map(|folder| {
        let name = folder.priority.as_ref().and_then(|name| Priority::new(name.as_bytes()).ok());
        (name, depth(folder.tasks))
    });
    let mut folders: Vec<_> = folders.filter(|(_, depth)| depth.tasks() > 0).collect();
    if let [(_, only)] = &mut folders[..] {
        *only = all;
    }
    Some((Census { folders, ..census_kept(view) }, all))
}

/// What is paused is due, as its file says.
fn depth(told: snapshot::Depth) -> Depth {
    let snapshot::Depth { due, delayed, running, held, paused, .. } = told;
    Depth { running, due: due + paused, delayed, held, ..Depth::default() }
}
