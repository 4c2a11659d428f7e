//! A relay: whether a daemon sends its tasks on, and whether the receiver takes them.

use std::path::Path;

use unspool_spool::{
    Link, RelayState, Shelves, SpoolView, Whereabouts, list, read_pauses, read_relay,
};
use unspool_sys::clock;

use super::typed::Typed;
use super::{Findings, many};
use crate::display;

/// A task that has waited for so long should be elsewhere.
const WAITED_NS_MAX: i64 = 60_000_000_000;

/// `path` is its outbox, `config` the file of the configuration.
pub(super) fn look(path: &Path, address: &str, config: Option<&Path>) -> Findings {
    let mut found = Findings::of("relay");
    // What is wrong with the directory was told of it.
    let Ok(view) = SpoolView::open(path) else { return found };
    let typed = Typed { spool: view.path(), config };
    let late = late(&view);
    match read_relay(&view) {
        Err(error) => found.error(&error),
        Ok(Some((state, true))) => look_at_forwarder(&mut found, &state, late, &typed),
        Ok(_) if late == 0 => found
            .note(format!("no daemon sends tasks on to {address}; {} starts one", typed.start())),
        Ok(_) => found.problem(
            format!(
                "no daemon sends tasks on to {address}, and {} for more than a minute",
                many(late, "task", "waits", "wait")
            ),
            format!("start one: {}", typed.start()),
        ),
    }
    found
}

fn look_at_forwarder(found: &mut Findings, state: &RelayState, late: usize, typed: &Typed<'_>) {
    let RelayState { address, pid, sent, .. } = state;
    match state.link {
        Link::Waiting => {
            let since_s = clock::now_ns() as f64 / 1e9 - state.since;
            return found.warning(
                format!(
                    "process {pid} sends nothing on to {address} since {}: {}",
                    display::span(since_s.max(0.0)),
                    state.error
                ),
                "it tries again by itself, and nothing is lost meanwhile; `unspool doctor` on that machine \
                 says whether it listens there, and for whom",
            );
        }
        Link::Connected | Link::Idle => found.fine(format!(
            "process {pid} sends tasks on to {address}: {} since it started",
            display::count(*sent, "task")
        )),
    }
    if late > 0 {
        found.warning(
            format!(
                "{} for more than a minute in {}",
                many(late, "task", "has waited", "have waited"),
                typed.spool.display()
            ),
            format!("{} says of each what keeps it", typed.on_task("why")),
        );
    }
}

/// Tasks that should have gone. Those of a paused function count: no file is opened for this.
fn late(view: &SpoolView) -> usize {
    let since_ns = clock::now_ns() - WAITED_NS_MAX;
    let pauses = read_pauses(view).unwrap_or_default();
    let pending = list(view, Shelves::PENDING).filter_map(Result::ok);
    let late = pending.filter(|task| {
        matches!(task.whereabouts(), Whereabouts::Pending(place)
            if pauses.of_task(place.priority.as_ref(), None).next().is_none())
            && matches!(task.stat(), Ok(Some(stat)) if stat.ctime_ns < since_ns)
    });
    late.count()
}
