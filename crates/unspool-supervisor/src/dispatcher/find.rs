//! Where tasks are that somebody names by a part of an id or of a name.
//!
//! By the names in the index alone, a slice of it between two looks at everything else: a million take
//! some tens of milliseconds in all, and hold nothing up.

use std::collections::VecDeque;

use unspool_core::Priority;
use unspool_spool::{PREFIX, Part, TaskName};

use super::Dispatcher;
use crate::events::ToSupervisor;
use crate::explanation::Candidates;

/// Tasks looked at between two looks at everything else.
const STEP_TASKS: usize = 20_000;
/// Places that are told.
const PLACES_MAX: usize = 64;

/// The questions that wait: there are no more of them than connections to the supervisor.
#[derive(Debug, Default)]
pub(super) struct Finding(VecDeque<Search>);

#[derive(Debug)]
struct Search {
    client: u32,
    part: Part,
    /// No id may begin or end with it: parts of names are looked at.
    by_name: bool,
    /// The next task to look at.
    next: usize,
    found: Candidates,
}

impl Finding {
    pub(super) fn is_running(&self) -> bool {
        !self.0.is_empty()
    }
}

fn add(found: &mut Candidates, priority: Option<&Priority>, name: &[u8]) {
    let top = priority.map(Priority::as_bytes);
    let place = top.map_or_else(|| name.to_vec(), |top| [top, b"/", name].concat());
    found.places.extend(String::from_utf8(place));
}

impl Dispatcher {
    /// Begins to look for tasks.
    pub(super) fn find_named(&mut self, client: u32, name: TaskName) {
        let mut found = Candidates::default();
        let file = match name {
            TaskName::Part(part) => {
                let by_name = !part.is_digits();
                let search = Search { client, part, by_name, next: 0, found };
                return self.finding.0.push_back(search);
            }
            TaskName::File(file) | TaskName::Kept(_, file) => file,
            TaskName::Place(place) => place.name,
        };
        for lane in 0..self.index.lane_count() as u32 {
            if self.index.find(lane, &file).is_some() {
                add(&mut found, self.index.priority(lane), &file);
            }
        }
        self.tell_found(client, found);
    }

    fn tell_found(&self, client: u32, mut found: Candidates) {
        let is_whole = self.scanner.is_settled() && self.room.is_enough();
        found.complete = is_whole && found.places.len() <= PLACES_MAX;
        self.outbox.send(ToSupervisor::FoundTasks { client, found });
    }

    /// Goes on with the question that came first.
    pub(super) fn find_step(&mut self) {
        let Some(search) = self.finding.0.front_mut() else { return };
        let (found, by_name) = (&mut search.found, search.by_name);
        let (index, part) = (&self.index, &search.part);
        let next = index.names(search.next, STEP_TASKS, |lane, short, submitted_ns| {
            let is_one =
                if by_name { part.is_in(short) } else { part.may_be_end(short, submitted_ns) };
            if is_one && found.places.len() <= PLACES_MAX {
                add(found, index.priority(lane), &[PREFIX, short].concat());
            }
        });
        if let Some(next) = next {
            search.next = next;
            return;
        }
        if found.places.is_empty() && !by_name {
            (search.by_name, search.next) = (true, 0);
            return;
        }
        let Some(Search { client, found, .. }) = self.finding.0.pop_front() else { return };
        self.tell_found(client, found);
    }
}
