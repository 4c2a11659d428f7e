//! Signals for mules: which one gets a signal, and what it was told of and has not handled.
//!
//! Of each signal a mule handles one and is told of no other; one more waits here. More are
//! coalesced. A signal that its mule has not begun to handle outlives the mule's process.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use unspool_sys::process::Exit;
use unspool_sys::socket;
use unspool_wire::task::ToWorker;

use super::Supervisor;
use super::mules::{Doing, Mules};
use super::signals::Target;
use crate::events::WorkerId;
use crate::journal::journal;

impl Mules {
    /// Whether there is a mule of this number.
    pub(super) fn has(&self, number: u32) -> bool {
        (1..=self.seats.len()).contains(&(number as usize))
    }

    /// The mules of the farm that a target names; none where there is no such farm.
    pub(super) fn of_farm(&self, target: &Target) -> &[u32] {
        let farm = match target {
            Target::Farm(name) => self.farms.iter().find(|farm| farm.0 == *name),
            Target::FarmNumber(number) => {
                (*number as usize).checked_sub(1).and_then(|at| self.farms.get(at))
            }
            _ => None,
        };
        farm.map_or(&[], |farm| &farm.1)
    }

    /// Of several mules the one that is likely to handle a signal first. One that never waited for
    /// anything may never do so.
    fn freest(&self, among: &[u32]) -> Option<u32> {
        among.iter().copied().filter(|number| self.has(*number)).min_by_key(|&number| {
            let mule = self.of_number(number).filter(|(_, mule)| mule.ready);
            let rank = match self.doing(number) {
                _ if mule.is_none() => 2,
                Doing::Waits => 0,
                Doing::Message { .. } | Doing::Handler { .. } | Doing::Signal | Doing::Between => 1,
                Doing::Else => 3,
            };
            (rank, mule.map_or(0, |(_, mule)| mule.told.len()))
        })
    }
}

impl Supervisor {
    /// Has the handler of a signal called in the mules that it is for.
    pub(super) fn raise_in_mules(&mut self, target: &Target, signal: u8) {
        let all = 1..=self.mules.seats.len() as u32;
        match target {
            Target::Mule(Some(number)) => self.raise_among(&[*number], signal),
            Target::Mule(None) => self.raise_among(&all.collect::<Vec<_>>(), signal),
            Target::Mules => all.for_each(|number| self.raise_among(&[number], signal)),
            Target::Farm(_) | Target::FarmNumber(_) => {
                let mules = self.mules.of_farm(target).to_vec();
                self.raise_among(&mules, signal);
            }
            Target::Pool | Target::Spooler | Target::Nobody | Target::Unknown => {}
        }
    }

    /// The same in the mule that a process is. `false`: it is none.
    pub(super) fn raise_in_process(&mut self, id: WorkerId, signal: u8) -> bool {
        let Some(number) = self.mules.processes.get(&id).map(|mule| mule.number) else {
            return false;
        };
        self.raise_among(&[number], signal);
        true
    }

    fn raise_among(&mut self, among: &[u32], signal: u8) {
        let waits = |number: &u32| {
            let seat = self.mules.seats.get(*number as usize - 1);
            seat.is_some_and(|seat| seat.waiting.contains(&signal))
        };
        if among.iter().any(waits) {
            return;
        }
        let Some(number) = self.mules.freest(among) else { return };
        if let Some(seat) = self.mules.seat(number) {
            seat.waiting.insert(signal);
        }
        self.tell_signals(number);
    }

    /// Tells a mule of the signals that wait for it and that it does not know of yet.
    pub(super) fn tell_signals(&mut self, number: u32) {
        let Some((id, mule)) = self.mules.of_number(number) else { return };
        if !mule.ready || mule.leaving.is_some() {
            return;
        }
        let Some(seat) = self.mules.seats.get_mut(number as usize - 1) else { return };
        let Some(mule) = self.mules.processes.get_mut(&id) else { return };
        let news: Vec<u8> = seat.waiting.difference(&mule.told).copied().collect();
        for signal in news {
            let mut packet = Vec::new();
            ToWorker::Tick { signal }.encode(&mut packet);
            if socket::send(mule.socket.as_fd(), &packet, &[]).unwrap_or(false) {
                seat.waiting.remove(&signal);
                mule.told.insert(signal);
            }
        }
    }

    /// A mule's process is no more: what it was told of and has not begun is for the next one.
    pub(super) fn signals_of_gone(
        &mut self,
        number: u32,
        told: &BTreeSet<u8>,
        pid: u32,
        exit: Exit,
    ) {
        let begun = self.mules.begun(number);
        for signal in told & &begun {
            journal!(
                TICK_LOST, signal, mule = number, pid, cause = %exit,
                "tick failed: its mule {exit}"
            );
        }
        let Some(seat) = self.mules.seat(number) else { return };
        seat.waiting.extend(told - &begun);
        // The next one has the handlers of the import alone.
        let (kept, others): (BTreeSet<u8>, BTreeSet<u8>) =
            seat.waiting.iter().partition(|signal| self.routes.is_global(**signal));
        seat.waiting = kept;
        for signal in others {
            self.raise(signal);
        }
    }
}
