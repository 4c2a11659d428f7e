//! Tasks that are coming and have their places in the count of pending tasks.
//!
//! They are not in the spool yet, so that whoever counts it in the meantime does not find them: what the
//! count then lacks is added here, and many at once do not pass a bound that one after the other holds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::SpoolDir;
use crate::admit::AdmitError;
use crate::pending::{Look, Pending, Place};

#[derive(Debug, Default)]
pub(super) struct Arriving {
    places: Mutex<Vec<Place>>,
}

impl Arriving {
    /// Takes the place of one more. One at a time: the next one sees it.
    pub(super) fn admit(&self, spool: &SpoolDir, bytes: u64) -> Result<Option<Place>, AdmitError> {
        let mut places = self.places();
        let passed_over = |look: Look| {
            let missing = places.iter().filter(|place| !place.is_in(look));
            missing.fold(Pending::default(), |all, place| all + place.pending())
        };
        let place = spool.admit_beside(bytes, passed_over)?;
        places.extend(place);
        Ok(place)
    }

    /// Moves one into the spool. Whoever counts meanwhile waits: it is either among these or in there, and
    /// counted once.
    pub(super) fn publish<E>(
        &self,
        spool: &SpoolDir,
        place: Option<Place>,
        publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(place) = place else { return publish() };
        let mut places = self.places();
        spool.count_passed_over(place);
        publish()?;
        take_out(&mut places, place);
        Ok(())
    }

    /// One is in the spool, or does not come.
    pub(super) fn remove(&self, place: Place) {
        take_out(&mut self.places(), place);
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_out(places: &mut Vec<Place>, place: Place) {
    if let Some(at) = places.iter().position(|other| *other == place) {
        places.swap_remove(at);
    }
}
