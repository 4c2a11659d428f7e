//! What is shown, and what becomes of it with each look and key. Draws nothing and asks nobody.

use std::collections::VecDeque;
use std::path::PathBuf;

use unspool_supervisor::snapshot::Outcomes;

use super::look::{Look, SpoolLook};
use crate::log_record::Record;

/// Looks whose rates are kept.
const HISTORY_MAX: usize = 240;
/// Lines of the log that are kept.
const LINES_MAX: usize = 500;

/// Everything.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) look: Look,
    /// Of each spool, in the order of the look.
    pub(super) histories: Vec<History>,
    pub(super) lines: VecDeque<Record>,
    /// The row that is chosen.
    pub(super) selected: usize,
    /// The spool that keys are about.
    pub(super) spool: usize,
    pub(super) sort: Sort,
    /// Only functions and tasks with this in their names.
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) interval_ms: u64,
    /// What came of the last key.
    pub(super) note: Option<String>,
}

/// What the keys do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// They are typed into the filter.
    Filter,
    /// They answer whether the spool is to be paused, or to run again.
    Confirm { pause: bool },
    /// They move in a text.
    Text { title: String, lines: Vec<String>, top: usize },
}

/// By what the table is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The longest first.
    #[default]
    Time,
    Function,
    Worker,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Time => Self::Function,
            Self::Function => Self::Worker,
            Self::Worker => Self::Time,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Function => "function",
            Self::Worker => "worker",
        }
    }
}

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) spool: usize,
    /// Its file, relative to the spool.
    pub(super) task: String,
    pub(super) function: String,
    pub(super) pid: u32,
    pub(super) since_ms: u64,
    /// Tasks that its worker has behind it.
    pub(super) behind: u64,
}

/// Workers of a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Workers {
    pub(super) busy: usize,
    pub(super) idle: usize,
    /// They are being started, or leave.
    pub(super) other: usize,
}

/// How much was done between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// In a second.
    pub(super) done: f64,
    /// In a second.
    pub(super) failed: f64,
    pub(super) span_s: f64,
}

/// The rates of a spool. They are of its daemons' counters, which begin anew with each daemon.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Counters>,
    pub(super) rate: Option<Rate>,
    /// Tasks done in a second, the newest last.
    pub(super) done: VecDeque<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counters {
    /// Whose they are: each daemon's process and start.
    of: Vec<(u32, i64)>,
    mono_ns: u64,
    done: u64,
    failed: u64,
}

impl History {
    fn note(&mut self, spool: &SpoolLook, mono_ns: u64) {
        let all = |count: fn(&Outcomes) -> u64| {
            spool.told().map(|status| count(&status.spool.outcomes)).sum::<u64>()
        };
        let now = Counters {
            of: spool.told().map(|status| (status.pid, status.started_at)).collect(),
            mono_ns,
            done: all(|outcomes| outcomes.done),
            failed: all(|outcomes| outcomes.failed),
        };
        let last = self.last.replace(now.clone());
        let before = last.filter(|last| last.of == now.of && !now.of.is_empty());
        self.rate = before.and_then(|last| {
            let span_s = mono_ns.checked_sub(last.mono_ns).filter(|ns| *ns > 0)? as f64 / 1e9;
            let per_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / span_s;
            let done = per_second(now.done, last.done);
            Some(Rate { done, failed: per_second(now.failed, last.failed), span_s })
        });
        if self.done.len() == HISTORY_MAX {
            self.done.pop_front();
        }
        self.done.push_back(self.rate.map_or(0.0, |rate| rate.done));
    }
}

impl State {
    /// Takes in a look. The task that is chosen stays so while it runs.
    pub(super) fn take(&mut self, look: Look) {
        let chosen = self.chosen_task();
        self.histories.resize_with(look.spools.len(), History::default);
        for (history, spool) in self.histories.iter_mut().zip(&look.spools) {
            history.note(spool, look.mono_ns);
        }
        self.look = look;
        self.spool = self.spool.min(self.look.spools.len().saturating_sub(1));
        let rows = self.running();
        let path = |row: &Running| Some(self.look.spools.get(row.spool)?.path.join(&row.task));
        let is_chosen = |row: &Running| {
            path(row).is_some_and(|path| chosen.as_ref().is_some_and(|(task, _)| *task == path))
        };
        let at = rows.iter().position(is_chosen).unwrap_or(self.selected);
        self.selected = at.min(rows.len().saturating_sub(1));
    }

    /// Takes in lines of the log.
    pub(super) fn tell(&mut self, lines: impl IntoIterator<Item = Record>) {
        for line in lines {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(line.without_secrets());
        }
    }

    /// The tasks that run, as they are to be shown.
    pub(super) fn running(&self) -> Vec<Running> {
        let mut rows: Vec<Running> = self
            .look
            .spools
            .iter()
            .enumerate()
            .flat_map(|(at, spool)| running_in(at, spool))
            .filter(|row| [&row.function, &row.task].iter().any(|text| text.contains(&self.filter)))
            .collect();
        match self.sort {
            Sort::Time => rows.sort_by_key(|row| std::cmp::Reverse(row.since_ms)),
            Sort::Function => rows.sort_by(|a, b| a.function.cmp(&b.function)),
            Sort::Worker => rows.sort_by_key(|row| row.pid),
        }
        rows
    }

    /// The spool that keys are about.
    pub(super) fn chosen_spool(&self) -> Option<&SpoolLook> {
        self.look.spools.get(self.spool)
    }

    /// The path of the task that is chosen, and its spool.
    pub(super) fn chosen_task(&self) -> Option<(PathBuf, PathBuf)> {
        let rows = self.running();
        let row = rows.get(self.selected)?;
        let spool = &self.look.spools.get(row.spool)?.path;
        Some((spool.join(&row.task), spool.clone()))
    }
}

/// The tasks that run in a spool.
pub(super) fn running_in(at: usize, spool: &SpoolLook) -> impl Iterator<Item = Running> {
    spool.told().flat_map(move |status| {
        status.spool.workers.iter().filter_map(move |worker| {
            let current = worker.current.as_ref()?;
            Some(Running {
                spool: at,
                task: current.task.clone(),
                function: current.function.clone(),
                pid: worker.pid,
                since_ms: current.since_ms,
                behind: worker.outstanding.saturating_sub(1),
            })
        })
    })
}

/// What the workers of a spool do.
pub(super) fn workers_of(spool: &SpoolLook) -> Workers {
    let mut workers = Workers::default();
    for worker in spool.told().flat_map(|status| &status.spool.workers) {
        match (worker.ready && !worker.leaving, worker.current.is_some()) {
            (_, true) => workers.busy += 1,
            (true, false) => workers.idle += 1,
            (false, false) => workers.other += 1,
        }
    }
    workers
}

#[cfg(test)]
pub(super) mod tests {
    use unspool_supervisor::snapshot::StatusSnapshot;

    use super::super::look::{Counts, DaemonLook};
    use super::*;

    /// A daemon's account, as JSON: its types cannot be made elsewhere.
    pub(crate) fn status(
        pid: u32,
        done: u64,
        failed: u64,
        current: &[(&str, u64)],
    ) -> StatusSnapshot {
        let workers: Vec<serde_json::Value> = current
            .iter()
            .enumerate()
            .map(|(number, (function, since_ms))| {
                let task = format!("5/uwsgi_spoolfile_on_h_1_{number}_7_1_0");
                serde_json::json!({
                    "id": number, "pid": 100 + number, "ready": true, "outstanding": 1,
                    "current": {"task": task, "function": function, "since_ms": since_ms},
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "pid": pid, "started_at": 1_795_000_000,
            "spool": {"workers": workers, "outcomes": {"done": done, "failed": failed}},
        }))
        .unwrap()
    }

    pub(crate) fn look(mono_s: u64, status: StatusSnapshot) -> Look {
        let daemons = vec![DaemonLook { pid: status.pid, status: Ok(status) }];
        let counts = Some(Counts { due: 3, running: 1, ..Counts::default() });
        let path = PathBuf::from("/srv/spool");
        let spool = SpoolLook { path, daemons, counts, dead: Some(1), ..SpoolLook::default() };
        let at_ns = 1_795_000_100_000_000_000;
        Look { at_ns, mono_ns: mono_s * 1_000_000_000, spools: vec![spool] }
    }

    #[test]
    fn a_rate_is_of_two_looks_at_one_daemon() {
        let mut state = State::default();
        state.take(look(10, status(1, 100, 5, &[])));
        assert_eq!(state.histories[0].rate, None);
        state.take(look(12, status(1, 140, 6, &[])));
        let rate = Rate { done: 20.0, failed: 0.5, span_s: 2.0 };
        assert_eq!(state.histories[0].rate, Some(rate));
        // Another daemon counts anew.
        state.take(look(13, status(2, 3, 0, &[])));
        assert_eq!(state.histories[0].rate, None);
        assert_eq!(state.histories[0].done, [0.0, 20.0, 0.0]);
        for second in 14..14 + 2 * HISTORY_MAX as u64 {
            state.take(look(second, status(2, second, 0, &[])));
        }
        assert_eq!(state.histories[0].done.len(), HISTORY_MAX);
    }

    #[test]
    fn running_tasks_are_sorted_and_filtered() {
        let mut state = State::default();
        state.take(look(1, status(1, 0, 0, &[("mail", 50), ("resize", 900), ("bill", 300)])));
        let functions =
            |state: &State| state.running().into_iter().map(|row| row.function).collect::<Vec<_>>();
        assert_eq!(functions(&state), ["resize", "bill", "mail"]);
        state.sort = Sort::Function;
        assert_eq!(functions(&state), ["bill", "mail", "resize"]);
        state.selected = 2;
        let task = "/srv/spool/5/uwsgi_spoolfile_on_h_1_1_7_1_0";
        assert_eq!(state.chosen_task(), Some((task.into(), "/srv/spool".into())));
        state.filter = "bi".to_owned();
        assert_eq!(functions(&state), ["bill"]);
        // What is chosen stays so, and is never beyond what is there.
        state.filter.clear();
        state.sort = Sort::Time;
        state.selected = 1;
        let bill = state.chosen_task();
        state.take(look(1, status(1, 0, 0, &[("mail", 950), ("resize", 900), ("bill", 1300)])));
        assert_eq!((state.selected, state.chosen_task()), (0, bill));
        state.filter = "bi".to_owned();
        state.take(look(2, status(1, 0, 0, &[("bill", 400)])));
        assert_eq!(state.selected, 0);
    }
}
