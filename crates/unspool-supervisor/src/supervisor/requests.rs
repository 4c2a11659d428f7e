//! Requests of other processes: children send them over a socket that all of them inherit, others
//! over a control socket in the spool. What they ask for is done elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tracing::{error, warn};
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::document::sealed;
use unspool_sys::process::Child;
use unspool_sys::socket::{self, Received};
use unspool_sys::{clock, poll::Poll};
use unspool_wire::request::{Asked, Reply, Request};

use super::spools::SpoolActor;
use super::{KIND_CLIENT, Supervisor};
use crate::events::{ToDispatcher, WorkerId};
use crate::journal::journal;

/// Connections at the same time.
pub(super) const CLIENTS_MAX: usize = 64;
/// Connections beyond those, which are told that there is no room when they ask something.
const REFUSED_MAX: usize = 64;
/// Those of them that may wait for an answer that takes long: the others are for who only asks.
const WAITING_MAX: usize = CLIENTS_MAX / 2;
/// A connection on which nothing was said for so long is closed.
const CLIENT_NS_MAX: u64 = 5_000_000_000;
/// When one is closed that may be silent.
pub(super) const SILENT: u64 = u64::MAX;
/// Packets read in a row before everything else gets its turn.
const PACKETS_MAX: usize = 256;

/// Where requests come from.
#[derive(Debug)]
pub(super) struct Requests {
    ours: OwnedFd,
    /// Goes to every zygote, and so to all processes of the application.
    theirs: OwnedFd,
    clients: BTreeMap<u32, Client>,
    last_client: u32,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// The spool whose socket it came by.
    spool: usize,
    until_ns: u64,
    /// There were too many when it came: it only hears so.
    is_full: bool,
    /// It is answered later.
    awaits: bool,
    /// That takes as long as something else does.
    waits_long: bool,
}

/// A connection cannot be answered later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoWait {
    /// It waits already.
    Waits,
    /// As many wait as may.
    Full,
}

impl Requests {
    pub(super) fn new(poll: &Poll, key: u64) -> io::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        socket::tell_senders(ours.as_fd())?;
        poll.add(ours.as_fd(), key)?;
        Ok(Self { ours, theirs, clients: BTreeMap::new(), last_client: 0 })
    }

    /// The end that children inherit.
    pub(super) fn for_children(&self) -> BorrowedFd<'_> {
        self.theirs.as_fd()
    }

    /// A connection is answered later, and stays until then at the latest. Returns its spool. `long`: the
    /// answer comes when something has ended.
    pub(super) fn await_answer(
        &mut self,
        number: u32,
        until_ns: u64,
        long: bool,
    ) -> Result<usize, NoWait> {
        let waiting = self.clients.values().filter(|client| client.waits_long).count();
        let client = self.clients.get_mut(&number).filter(|client| !client.awaits);
        let client = client.ok_or(NoWait::Waits)?;
        if long && waiting >= WAITING_MAX {
            return Err(NoWait::Full);
        }
        (client.awaits, client.waits_long, client.until_ns) = (true, long, until_ns);
        Ok(client.spool)
    }

    /// Whether a connection is there that waited for its answer.
    pub(super) fn awaits_no_more(&mut self, number: u32) -> bool {
        let Some(client) = self.clients.get_mut(&number) else { return false };
        if client.until_ns != SILENT {
            client.until_ns = clock::monotonic_ns() + CLIENT_NS_MAX;
        }
        client.waits_long = false;
        std::mem::take(&mut client.awaits)
    }

    /// When the next silent connection is closed.
    pub(super) fn next_close_ns(&self) -> Option<u64> {
        let until = self.clients.values().map(|client| client.until_ns);
        until.filter(|until_ns| *until_ns != SILENT).min()
    }

    /// A connection is not closed for its silence.
    pub(super) fn let_last(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.until_ns = SILENT;
        }
    }

    /// Whether a connection is there.
    pub(super) fn has(&self, number: u32) -> bool {
        self.clients.contains_key(&number)
    }
}

impl Supervisor {
    /// Reads what children ask for.
    pub(super) fn read_requests(&mut self) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        for _ in 0..PACKETS_MAX {
            match socket::receive_from(self.requests.ours.as_fd(), &mut buffer) {
                Ok((Received::Packet(bytes), pid)) => {
                    if let Err(why) = self.asked(&buffer[..bytes], Some(pid), None) {
                        error!(pid, "{why}");
                    }
                }
                Ok(_) => return,
                Err(error) => warn!(%error, "a request cannot be read"),
            }
        }
    }

    /// Takes a connection to the control socket of a spool.
    pub(super) fn accept_client(&mut self, spool: usize) {
        while let Some(listener) = self.spools.get(spool).and_then(SpoolActor::control) {
            match socket::accept(listener) {
                Ok(Some(socket)) => self.add_client(socket, spool),
                Ok(None) => return,
                Err(error) => return warn!(%error, "cannot take a connection"),
            }
        }
    }

    fn add_client(&mut self, socket: OwnedFd, spool: usize) {
        let requests = &mut self.requests;
        let is_full = requests.clients.len() >= CLIENTS_MAX;
        if requests.clients.len() >= CLIENTS_MAX + REFUSED_MAX {
            // The silent ones go soon.
            return;
        }
        requests.last_client = requests.last_client.wrapping_add(1);
        let key = KIND_CLIENT | u64::from(requests.last_client);
        match self.poll.add(socket.as_fd(), key) {
            Ok(()) => {
                let until_ns = clock::monotonic_ns() + CLIENT_NS_MAX;
                requests.clients.insert(
                    requests.last_client,
                    Client { socket, spool, until_ns, is_full, awaits: false, waits_long: false },
                );
            }
            Err(error) => warn!(%error, "cannot watch a connection"),
        }
    }

    /// Answers what a connection asks for.
    pub(super) fn read_client(&mut self, number: u32) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        for _ in 0..PACKETS_MAX {
            let Some(client) = self.requests.clients.get_mut(&number) else { return };
            if !client.awaits && client.until_ns != SILENT {
                client.until_ns = clock::monotonic_ns() + CLIENT_NS_MAX;
            }
            let received =
                socket::receive(client.socket.as_fd(), &mut buffer, &mut Vec::new(), false);
            match received {
                Ok(Received::Packet(_)) if client.is_full => {
                    let error = format!(
                        "as many processes are connected to this daemon as may be ({CLIENTS_MAX}): try \
                         again in {} s",
                        CLIENT_NS_MAX / 1_000_000_000
                    );
                    self.answer(number, &Reply::Failed { error });
                    return self.close_client(number);
                }
                Ok(Received::Packet(bytes)) => {
                    let reply = self
                        .asked(&buffer[..bytes], None, Some(number))
                        .unwrap_or_else(|error| Some(Reply::Failed { error }));
                    if reply.is_some_and(|reply| !self.answer(number, &reply)) {
                        return self.close_client(number);
                    }
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => return self.close_client(number),
            }
        }
    }

    pub(super) fn answer(&self, number: u32, reply: &Reply) -> bool {
        let Some(client) = self.requests.clients.get(&number) else { return false };
        serde_json::to_vec(reply)
            .is_ok_and(|bytes| socket::send(client.socket.as_fd(), &bytes, &[]).unwrap_or(false))
    }

    /// The same, with bytes behind the object and a zero byte.
    pub(super) fn answer_data(&self, number: u32, reply: &Reply, data: &[u8]) -> bool {
        let Some(client) = self.requests.clients.get(&number) else { return false };
        serde_json::to_vec(reply).is_ok_and(|mut bytes| {
            bytes.push(0);
            bytes.extend_from_slice(data);
            socket::send(client.socket.as_fd(), &bytes, &[]).unwrap_or(false)
        })
    }

    /// Answers with a document, in the packet or beside it.
    pub(super) fn answer_document(&self, number: u32, document: &[u8]) -> bool {
        let Some(client) = self.requests.clients.get(&number) else { return false };
        let reply = Reply::Document { bytes: document.len() as u64 };
        let Ok(mut packet) = serde_json::to_vec(&reply) else { return false };
        if packet.len() + 1 + document.len() <= PACKET_BYTES_MAX {
            packet.push(0);
            packet.extend_from_slice(document);
            return socket::send(client.socket.as_fd(), &packet, &[]).unwrap_or(false);
        }
        match sealed(document) {
            Ok(file) => {
                socket::send(client.socket.as_fd(), &packet, &[file.as_fd()]).unwrap_or(false)
            }
            Err(error) => {
                warn!(%error, "no memory for an answer");
                self.answer(number, &Reply::Failed { error: format!("no memory: {error}") })
            }
        }
    }

    pub(super) fn close_client(&mut self, number: u32) {
        if let Some(client) = self.requests.clients.remove(&number) {
            let _ = self.poll.remove(client.socket.as_fd());
        }
    }

    /// Closes connections on which nothing is said.
    pub(super) fn close_silent_clients(&mut self) {
        let now_ns = clock::monotonic_ns();
        let silent: Vec<u32> = (self.requests.clients.iter())
            .filter(|(_, client)| client.until_ns <= now_ns)
            .map(|(number, _)| *number)
            .collect();
        for number in silent {
            self.close_client(number);
        }
    }

    /// Does what a packet asks for. `pid` is its sender if that is a child, `client` the connection
    /// otherwise. `None`: it is answered later.
    fn asked(
        &mut self,
        packet: &[u8],
        pid: Option<u32>,
        client: Option<u32>,
    ) -> Result<Option<Reply>, String> {
        // JSON has no zero bytes.
        let end = packet.iter().position(|byte| *byte == 0);
        let (object, data) = packet.split_at(end.unwrap_or(packet.len()));
        let Asked { worker, request } = serde_json::from_slice(object)
            .map_err(|error| format!("a request that makes no sense: {error}"))?;
        match request {
            Request::Signal { signal } => self.raise(signal),
            Request::Timer(timer) => self.schedule.add_timer(&timer)?,
            Request::Cron(cron) => self.schedule.add_cron(cron)?,
            Request::Monitor(monitor) => self.add_monitor(monitor)?,
            Request::Sources { sources } if pid.is_some() => self.add_sources(sources),
            Request::Sources { .. } => return Err("only workers tell of their files".into()),
            Request::ImportFailed(failure) => {
                let worker = self.sender(worker, pid)?;
                self.worker_import_failed(worker, failure);
            }
            Request::Register { signal } => {
                let worker = self.sender(worker, pid)?;
                self.register_in(worker, signal)?;
            }
            Request::Wait { signal } => {
                let worker = self.sender(worker, pid)?;
                self.check_hears(worker)?;
                self.wait_in(worker, signal);
            }
            Request::Message { mule, farm } => {
                let data = data.get(1..).unwrap_or_default();
                return self.mules.send(mule, farm.as_deref(), data).map(Some);
            }
            Request::Reload => {
                journal!(RELOAD_ASKED, pid, "a process asks for a reload");
                self.reload();
            }
            Request::Stop => {
                journal!(STOP_ASKED, pid, "a process asks for a stop");
                self.stop();
            }
            Request::Frequency { seconds } => self.set_frequency(seconds)?,
            Request::Schedule(ask) => return self.ask_schedule(client, ask),
            Request::Cancel(cancel) => {
                let place = data.get(1..).unwrap_or_default();
                return self.ask_to_cancel(client, cancel, place).map(|()| None);
            }
            Request::Log { from, wait } => {
                return self.ask_for_log(client, from, wait).map(|()| None);
            }
            Request::Status => return self.ask_for_status(client).map(|()| None),
            Request::Explain => {
                let place = data.get(1..).unwrap_or_default();
                return self.ask_to_explain(client, place).map(|()| None);
            }
            Request::Find => {
                let part = data.get(1..).unwrap_or_default();
                return self.ask_to_find(client, part).map(|()| None);
            }
        }
        Ok(Some(Reply::Done))
    }

    /// The worker that sent a request about itself. A process that a task forked is none, though
    /// it believes to be one.
    fn sender(&self, worker: WorkerId, pid: Option<u32>) -> Result<WorkerId, String> {
        let known = self.workers.get(&worker);
        let child = known.and_then(|known| known.child.as_ref()).map(Child::pid);
        match (known, pid) {
            (Some(_), Some(pid)) if child.is_none_or(|child| child == pid) => Ok(worker),
            _ => Err("only a worker or a mule of the daemon can handle or await a signal".into()),
        }
    }

    fn set_frequency(&mut self, seconds: f64) -> Result<(), String> {
        if !(0.0..=1e9).contains(&seconds) {
            return Err(format!("{seconds} s is no frequency of retries: give 0 to 1e9"));
        }
        let frequency = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
        for spool in 0..self.spools.len() {
            self.tell(spool, ToDispatcher::Frequency(frequency));
        }
        Ok(())
    }
}
