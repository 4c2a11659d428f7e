//! The connections that nobody answers now, by keys that no other connection ever has.

use crate::connection::Connection;

/// Keys of connections; all others are greater.
const GENERATIONS: u32 = 1 << 31;

/// A key's place and how often that was taken.
fn key(generation: u32, place: usize) -> u64 {
    u64::from(generation) << 32 | place as u64
}

#[derive(Debug, Default)]
pub(crate) struct Seats {
    places: Vec<(u32, Option<Box<Connection>>)>,
    free: Vec<usize>,
    /// Bytes that they hold.
    bytes: usize,
    /// Connections that have something to be looked at, which no event will tell.
    waiting: Vec<u64>,
}

impl Seats {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Bytes that all of them hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The key that the next one that is put gets.
    pub(crate) fn next_key(&mut self) -> u64 {
        let place = if let Some(place) = self.free.last() {
            *place
        } else {
            self.free.push(self.places.len());
            self.places.push((0, None));
            self.places.len() - 1
        };
        key(self.places[place].0, place)
    }

    /// Puts a connection under the key that `next_key` said.
    pub(crate) fn put(&mut self, connection: Box<Connection>) -> u64 {
        let key = self.next_key();
        self.free.pop();
        self.bytes += connection.bytes_held();
        self.places[(key & 0xffff_ffff) as usize].1 = Some(connection);
        key
    }

    /// Takes one; `None` where it is gone.
    pub(crate) fn take(&mut self, key: u64) -> Option<Box<Connection>> {
        let (generation, place) = ((key >> 32) as u32, (key & 0xffff_ffff) as usize);
        let seat = self.places.get_mut(place).filter(|seat| seat.0 == generation)?;
        let connection = seat.1.take()?;
        seat.0 = (seat.0 + 1) % GENERATIONS;
        self.free.push(place);
        self.bytes -= connection.bytes_held();
        Some(connection)
    }

    /// Has one looked at that `put` named.
    pub(crate) fn look_at(&mut self, key: u64) {
        self.waiting.push(key);
    }

    /// Those that are to be looked at.
    pub(crate) fn waiting(&mut self) -> std::vec::Drain<'_, u64> {
        self.waiting.drain(..)
    }

    /// Keys of those whose time is over.
    pub(crate) fn late(&self, now_ns: u64) -> Vec<u64> {
        self.each().filter(|(_, each)| each.deadline_ns <= now_ns).map(|(key, _)| key).collect()
    }

    /// Has those that are idle end at one time at the latest, and others at another one.
    pub(crate) fn end_by(&mut self, idle_ns: u64, others_ns: u64) {
        for connection in self.places.iter_mut().filter_map(|(_, seat)| seat.as_mut()) {
            let deadline_ns = if connection.is_idle() { idle_ns } else { others_ns };
            connection.deadline_ns = connection.deadline_ns.min(deadline_ns);
        }
    }

    /// The one that may go first: that holds most, or of those that hold nothing the one that waits longest.
    pub(crate) fn least_worthy(&self, by_bytes: bool) -> Option<u64> {
        let most = |each: &Connection| if by_bytes { each.bytes_held() } else { 0 };
        self.each()
            .max_by_key(|(_, each)| (most(each), each.is_idle(), std::cmp::Reverse(each.since_ns)))
            .map(|(key, _)| key)
    }

    fn each(&self) -> impl Iterator<Item = (u64, &Connection)> {
        self.places.iter().enumerate().filter_map(|(place, (generation, seat))| {
            Some((key(*generation, place), &**seat.as_ref()?))
        })
    }
}
