//! Places for connections: so many at all, so many for a peer. Who comes when none is left takes the
//! place of the one that has been silent for longest, first of the same peer's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What connections are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Over TCP.
    Address(IpAddr),
    /// Over a Unix socket.
    User(u32),
}

impl Who {
    /// Whoever has one address of IPv6 has all that share its first half.
    pub(super) fn address(ip: IpAddr) -> Self {
        Self::Address(match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        })
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_peer: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Connection>,
    of_peer: HashMap<Who, usize>,
}

#[derive(Debug)]
struct Connection {
    who: Who,
    /// Since when nothing of it is under way; `None`: something is.
    silent_since: Option<Instant>,
    task: Option<AbortHandle>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
}

/// By which a place ends the task that has it.
#[derive(Debug)]
pub(super) struct Watched {
    places: Arc<Places>,
    number: u64,
}

/// No place is left, and nobody is silent.
#[derive(Debug, thiserror::Error)]
#[error("{0} connections are busy, which is all that `{1}` allows; closed")]
pub(super) struct Full(usize, &'static str);

impl Places {
    pub(super) fn new(most: usize, most_of_peer: usize) -> Self {
        Self { most, most_of_peer, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection, perhaps another one's.
    pub(super) fn take(self: &Arc<Self>, who: Who) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.of_peer.get(&who).is_some_and(|count| *count >= self.most_of_peer) {
            let full = Full(self.most_of_peer, "network-connections-per-peer");
            taken.end_silent(|other| other == who).ok_or(full)?;
        }
        if taken.connections.len() >= self.most {
            // Of the peer that has most: one that floods takes from itself.
            let most = taken.of_peer.values().max().copied().unwrap_or(0);
            let greedy: Vec<Who> =
                taken.of_peer.iter().filter(|(_, n)| **n == most).map(|(who, _)| *who).collect();
            let ended = taken
                .end_silent(|other| greedy.contains(&other))
                .or_else(|| taken.end_silent(|_| true));
            ended.ok_or(Full(self.most, "network-connections"))?;
        }
        let number = taken.next;
        taken.next += 1;
        let silent_since = Some(Instant::now());
        taken.connections.insert(number, Connection { who, silent_since, task: None });
        *taken.of_peer.entry(who).or_default() += 1;
        Ok(Place { places: Arc::clone(self), number })
    }
}

impl Taken {
    /// Ends the connection that has been silent for longest, of those that match.
    fn end_silent(&mut self, matches: impl Fn(Who) -> bool) -> Option<()> {
        let silent = self.connections.iter().filter(|(_, connection)| {
            // One that was accepted a moment ago has no task yet.
            matches(connection.who) && connection.task.is_some()
        });
        let (number, _) = silent
            .filter_map(|(number, connection)| Some((*number, connection.silent_since?)))
            .min_by_key(|(number, since)| (*since, *number))?;
        self.end(number)
    }

    fn end(&mut self, number: u64) -> Option<()> {
        let connection = self.connections.remove(&number)?;
        if let Some(count) = self.of_peer.get_mut(&connection.who) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&connection.who);
            }
        }
        if let Some(task) = connection.task {
            task.abort();
        }
        Some(())
    }
}

impl Place {
    pub(super) fn watch(&self) -> Watched {
        Watched { places: Arc::clone(&self.places), number: self.number }
    }

    /// Says that something is under way, or that nothing is.
    pub(super) fn set_busy(&self, busy: bool) {
        if let Some(connection) = self.places.taken().connections.get_mut(&self.number) {
            connection.silent_since = (!busy).then(Instant::now);
        }
    }
}

impl Watched {
    /// Says which task to end.
    pub(super) fn ends_with(&self, task: AbortHandle) {
        if let Some(connection) = self.places.taken().connections.get_mut(&self.number) {
            connection.task = Some(task);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(connection) = taken.connections.get_mut(&self.number) {
            // It ends by itself.
            connection.task = None;
        }
        taken.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Who = Who::User(1);
    const B: Who = Who::User(2);

    fn places(most: usize, most_of_peer: usize) -> Arc<Places> {
        Arc::new(Places::new(most, most_of_peer))
    }

    /// A place with a task that never ends.
    fn take(places: &Arc<Places>, who: Who) -> Option<(Place, tokio::task::JoinHandle<()>)> {
        let place = places.take(who).ok()?;
        let task = tokio::spawn(std::future::pending());
        place.watch().ends_with(task.abort_handle());
        Some((place, task))
    }

    #[tokio::test]
    async fn a_peer_takes_the_place_of_its_own_that_is_silent_for_longest() {
        let places = places(10, 2);
        let (first, ended) = take(&places, A).unwrap();
        let (second, _task) = take(&places, A).unwrap();
        first.set_busy(true);
        second.set_busy(true);
        assert!(take(&places, A).is_none());
        assert!(take(&places, B).is_some());
        first.set_busy(false);
        let _third = take(&places, A).unwrap();
        assert!(ended.await.unwrap_err().is_cancelled());
        // A place that was taken away counts no more when its holder goes.
        drop(first);
        assert_eq!(places.taken().of_peer[&A], 2);
    }

    #[test]
    fn half_an_address_of_ipv6_is_one_peer() {
        let who = |text: &str| Who::address(text.parse().unwrap());
        assert_eq!(who("2001:db8::1"), who("2001:db8::ffff:1"));
        assert_ne!(who("2001:db8:0:1::1"), who("2001:db8::1"));
        assert_ne!(who("10.0.0.1"), who("10.0.0.2"));
    }

    #[tokio::test]
    async fn one_that_floods_takes_from_itself() {
        let places = places(4, 4);
        let (_patient, task) = take(&places, B).unwrap();
        let mut flood = Vec::new();
        for _ in 0..50 {
            flood.push(take(&places, A).unwrap());
        }
        assert_eq!(places.taken().connections.len(), 4);
        assert!(!task.is_finished());
        drop(flood);
        assert_eq!(places.taken().of_peer.get(&A), None);
    }
}
