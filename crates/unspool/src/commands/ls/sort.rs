//! A sorted list: the names of tasks with what they are sorted by.

use std::collections::BinaryHeap;
use std::io::{self, Write};

use unspool_core::Priority;
use unspool_spool::{Listed, TaskState, TaskSummary, Whereabouts, list, submitted_ns};

use super::filter::Filter;
use super::row::Printer;
use super::{LsError, said, unread};
use crate::cli::SortKey;
use crate::exit;
use crate::tasks::{Looked, failed};
use crate::terminal::progress;

/// What a task is sorted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Name(Vec<u8>),
    /// Tasks without a priority come after all others.
    Priority(bool, Option<Priority>, i64),
}

/// A task that matches.
struct Entry {
    key: Key,
    /// Negative for the highest first.
    direction: i8,
    spool: usize,
    /// In which order it was found: equals stay in it.
    number: u64,
    task: Listed,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = self.key.cmp(&other.key);
        let order = if self.direction < 0 { order.reverse() } else { order };
        order.then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// The tasks that match, at most as many as are printed.
pub(super) struct Sorted {
    by: SortKey,
    direction: i8,
    limit: usize,
    /// The one that would come last is on top.
    found: BinaryHeap<Entry>,
}

impl Sorted {
    pub(super) fn new(by: SortKey, reverse: bool, limit: Option<usize>) -> Self {
        let direction = if reverse { -1 } else { 1 };
        Self { by, direction, limit: limit.unwrap_or(usize::MAX), found: BinaryHeap::new() }
    }

    /// Finds all that match. A folder that cannot be read is said, and the others follow.
    pub(super) fn collect(&mut self, spools: &[Looked], filter: &Filter<'_>) -> u8 {
        let (mut status, mut number) = (exit::OK, 0);
        let bar = progress("sorting");
        for (index, spool) in spools.iter().enumerate() {
            for task in list(&spool.view, filter.shelves()) {
                let keyed = task.and_then(|task| {
                    let key = self.key(spool, filter, &task)?;
                    Ok(key.map(|key| (key, task)))
                });
                bar.inc(1);
                match keyed {
                    Ok(None) => {}
                    Ok(Some((key, task))) => {
                        number += 1;
                        self.keep(Entry {
                            key,
                            direction: self.direction,
                            spool: index,
                            number,
                            task,
                        });
                    }
                    Err(source) => status = bar.suspend(|| said(spool, source)),
                }
            }
            status = exit::worse(status, bar.suspend(|| unread(spool, filter)));
        }
        bar.finish_and_clear();
        status
    }

    fn keep(&mut self, entry: Entry) {
        if self.found.len() < self.limit {
            self.found.push(entry);
        } else if let Some(mut last) = self.found.peek_mut()
            && entry < *last
        {
            *last = entry;
        }
    }

    /// What a task is sorted by, found as cheaply as can be; `None` if it does not match.
    fn key(&self, spool: &Looked, filter: &Filter<'_>, task: &Listed) -> io::Result<Option<Key>> {
        if filter.needs_no_look() {
            if !filter.admits(spool, task)? {
                return Ok(None);
            }
            let by_name = submitted_ns(task.name()).filter(|_| self.by == SortKey::Submitted);
            if let Some(submitted) = by_name {
                return Ok(Some(Key::Number(submitted)));
            }
            if matches!(self.by, SortKey::Due | SortKey::Priority | SortKey::Size) {
                let stat = task.stat()?;
                return Ok(stat.map(|stat| match self.by {
                    SortKey::Size => Key::Number(stat.bytes as i64),
                    SortKey::Due => Key::Number(stat.mtime_ns),
                    _ => by_priority(spool, task.whereabouts(), stat.mtime_ns),
                }));
            }
        }
        Ok(filter.matches(spool, task)?.map(|seen| self.key_of(spool, &seen)))
    }

    fn key_of(&self, spool: &Looked, seen: &TaskSummary) -> Key {
        match self.by {
            SortKey::Submitted => Key::Number(seen.submitted_ns),
            SortKey::Due => Key::Number(seen.due_ns),
            SortKey::Priority => by_priority(spool, &seen.whereabouts, seen.due_ns),
            SortKey::Function => Key::Name(seen.function.clone().unwrap_or_default()),
            SortKey::State => {
                let place = TaskState::ALL.iter().position(|state| *state == seen.state);
                Key::Number(place.map_or(i64::MAX, |place| place as i64))
            }
            SortKey::Attempts => {
                let last = spool.last_attempt(seen);
                Key::Number(i64::from(failed(seen, last.as_ref())))
            }
            SortKey::Size => Key::Number(seen.stat.bytes as i64),
        }
    }

    /// Looks at each again, and prints it if it still is what was asked for.
    pub(super) fn print<W: Write>(
        self,
        spools: &[Looked],
        filter: &Filter<'_>,
        printer: &mut Printer<W>,
    ) -> Result<(), LsError> {
        for entry in self.found.into_sorted_vec() {
            let Some(spool) = spools.get(entry.spool) else { continue };
            match filter.matches(spool, &entry.task) {
                Ok(None) => {}
                Ok(Some(seen)) => printer.print(spool, &seen).map_err(LsError::Print)?,
                Err(source) => {
                    said(spool, source);
                }
            }
        }
        Ok(())
    }
}

fn by_priority(spool: &Looked, whereabouts: &Whereabouts, due_ns: i64) -> Key {
    let priority = spool.priority(whereabouts);
    Key::Priority(priority.is_none(), priority, due_ns)
}
