//! Forwarders: each sends the tasks of one outbox on to another machine, in a thread of its own.
//!
//! A task is locked while it is on its way, and deleted once the receiver has said that it is stored to
//! stay. One that was sent and not answered for is sent again; a receiver stores an id once. A
//! receiver that cannot be reached is tried again and again, ever more seldom.

mod foreign;
mod moment;
mod outbox;
mod passage;
mod sending;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{error, info, warn};
use unspool_remote::Remote;
use unspool_spool::{SpoolDir, Trust, lead_relay};
use unspool_sys::poll::{Poll, Waker};

use self::moment::Moment;
use self::sending::Sending;

/// How long the end of a thread is waited for: answers that are on their way may come.
const END_WAIT: Duration = Duration::from_secs(3);
/// How often a forwarder that another one keeps from working looks whether it still does.
const LEAD_EVERY: Duration = Duration::from_secs(1);
/// After the outbox could not be used.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// One relay.
#[derive(Debug)]
pub struct RelaySettings {
    /// As it was configured.
    pub address: String,
    /// Where its tasks lie; opened for this alone.
    pub outbox: Arc<SpoolDir>,
    /// Where they go.
    pub remote: Remote,
    /// Of whose files the relay may say that they are as good as its own.
    pub trust: Trust,
    /// How often the outbox is looked at where the system may not tell of changes.
    pub frequency: Duration,
}

/// Running forwarders. They end when this is dropped.
#[derive(Debug)]
pub struct Forwarders(Vec<Forwarder>);

#[derive(Debug)]
struct Forwarder {
    stop: Arc<Waker>,
    ended: Receiver<()>,
}

impl Forwarder {
    fn start(relay: RelaySettings) -> io::Result<Self> {
        let stop = Arc::new(Waker::new()?);
        let (sender, ended) = sync_channel(1);
        let stopping = Arc::clone(&stop);
        std::thread::Builder::new().name("forwarder".to_owned()).spawn(move || {
            run(&relay, &stopping);
            // The sender is never used; its end tells that this has ended.
            drop::<SyncSender<()>>(sender);
        })?;
        Ok(Self { stop, ended })
    }
}

impl Forwarders {
    /// Starts a thread for each relay.
    pub fn start(relays: Vec<RelaySettings>) -> io::Result<Self> {
        relays.into_iter().map(Forwarder::start).collect::<io::Result<_>>().map(Self)
    }
}

impl Drop for Forwarders {
    fn drop(&mut self) {
        // All have the same time.
        for forwarder in &self.0 {
            forwarder.stop.wake();
        }
        let until = Moment::now() + END_WAIT;
        for forwarder in &self.0 {
            let left = until.saturating_duration_since(Moment::now());
            if forwarder.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                warn!("a forwarder does not end; leaving it: its tasks stay in their outbox");
            }
        }
    }
}

fn run(relay: &RelaySettings, stop: &Waker) {
    let outbox = relay.outbox.path().display().to_string();
    info!(address = relay.address, outbox, "relaying tasks");
    let mut failing = false;
    loop {
        let ended = match lead_relay(&relay.outbox) {
            Ok(None) => Ok(wait(stop, LEAD_EVERY)),
            Ok(Some(_lead)) => Sending::new(relay, stop).and_then(Sending::run).map(|()| true),
            Err(error) => Err(error),
        };
        match ended {
            Ok(true) => return,
            Ok(false) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    error!(outbox, %error, "the outbox cannot be used; trying again");
                }
                if wait(stop, AGAIN_AFTER) {
                    return;
                }
            }
        }
    }
}

/// Waits; whether it is to stop.
fn wait(stop: &Waker, time: Duration) -> bool {
    let wait = || {
        let poll = Poll::new()?;
        poll.add(stop.as_fd(), 0)?;
        let mut keys = Vec::new();
        poll.wait(&mut keys, Some(time.as_nanos() as u64))?;
        Ok::<_, io::Error>(!keys.is_empty())
    };
    // A process that cannot even wait had better end this thread than spin.
    wait().unwrap_or(true)
}
