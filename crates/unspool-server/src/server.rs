//! The thread of the control plane: accepts connections, as many at once as there is room for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{error, info, warn};

use crate::listener::{Listener, Socket};
use crate::network::{self, NetworkSettings, STORING_MAX};
use crate::stats::{Stats, StatsSettings};
use unspool_supervisor::Inquirer;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// After a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long the end of the thread is waited for.
const END_WAIT: Duration = Duration::from_secs(1);

/// What is to be served.
#[derive(Debug, Default)]
pub struct Serve {
    /// Statistics: where, how, and whom to ask.
    pub stats: Option<(Vec<Listener>, StatsSettings, Inquirer)>,
    /// Tasks of the network.
    pub network: Option<NetworkSettings>,
}

/// The running server. It ends when it is dropped, and its sockets' files are removed.
#[derive(Debug)]
pub struct Server {
    /// Its end tells the thread to end.
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<()>,
    /// For their files.
    listeners: Vec<Listener>,
}

impl Server {
    /// Starts to serve on sockets that are bound. Without anything to serve, no thread is started.
    pub fn start(serve: Serve) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (sender, ended) = sync_channel(1);
        if serve.stats.is_none() && serve.network.is_none() {
            return Ok(Self { stop: None, ended, listeners: Vec::new() });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(STORING_MAX + 1)
            .thread_name("server-disk")
            .build()?;
        let mut listeners = Vec::new();
        if let Some((stats, settings, inquirer)) = serve.stats {
            listeners.extend(begin_stats(&runtime, stats, settings, inquirer)?);
        }
        if let Some(network) = serve.network {
            listeners.extend(begin_network(&runtime, network)?);
        }
        std::thread::Builder::new().name("server".to_owned()).spawn(move || {
            // The sender is never used, only dropped; its other half's end tells that this has ended.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(END_WAIT);
            drop(sender);
        })?;
        Ok(Self { stop: Some(stop), ended, listeners })
    }
}

/// Begins to serve statistics. Returns the listeners, for their files.
fn begin_stats(
    runtime: &Runtime,
    mut listeners: Vec<Listener>,
    settings: StatsSettings,
    inquirer: Inquirer,
) -> io::Result<Vec<Listener>> {
    let mut sockets = Vec::new();
    let descriptors: Vec<i32> = listeners.iter().map(Listener::number).collect();
    {
        let _entered = runtime.enter();
        for listener in &mut listeners {
            sockets.push(match std::mem::replace(&mut listener.socket, Socket::Taken) {
                Socket::Tcp(socket) => Accepting::Tcp(TcpListener::from_std(socket)?),
                Socket::Unix(socket) => Accepting::Unix(UnixListener::from_std(socket)?),
                Socket::Taken => continue,
            });
        }
    }
    let mut shown: Vec<(&str, i32)> =
        listeners.iter().map(Listener::shown).zip(descriptors).collect();
    shown.dedup_by_key(|(address, _)| *address);
    for (address, descriptor) in shown {
        info!(address, "serving statistics");
        info!(target: "uwsgi", "*** Stats server enabled on {address} fd: {descriptor} ***");
    }
    let stats = Arc::new(Stats::new(settings, inquirer));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for socket in sockets {
        runtime.spawn(accept(socket, Arc::clone(&room), Arc::clone(&stats)));
    }
    Ok(listeners)
}

/// Begins to serve the network. Returns the listeners, for their files.
fn begin_network(runtime: &Runtime, settings: NetworkSettings) -> io::Result<Vec<Listener>> {
    for socket in &settings.sockets {
        let (address, descriptor) = (socket.listener.shown(), socket.listener.number());
        info!(address, "taking tasks from the network");
        info!(target: "uwsgi", "uwsgi socket bound to address {address} fd {descriptor}");
    }
    let _entered = runtime.enter();
    let started = settings.start()?;
    let shared = started.shared;
    for socket in started.serving {
        runtime.spawn(socket.run(Arc::clone(&shared)));
    }
    if let Some(receiving) = started.receiving {
        runtime.spawn(receiving.run(Arc::clone(&shared)));
    }
    runtime.spawn(network::settle(shared));
    Ok(started.listeners)
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop.take().is_some()
            && self.ended.recv_timeout(END_WAIT) == Err(RecvTimeoutError::Timeout)
        {
            warn!("the server's thread does not end; leaving it");
        }
        self.listeners.clear();
    }
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn accept(socket: Accepting, room: Arc<Semaphore>, stats: Arc<Stats>) {
    let mut failing = false;
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let accepted = match &socket {
            Accepting::Tcp(socket) => socket.accept().await.map(|(stream, _)| {
                tokio::spawn(answer(stream, Arc::clone(&stats), place));
            }),
            Accepting::Unix(socket) => socket.accept().await.map(|(stream, _)| {
                tokio::spawn(answer(stream, Arc::clone(&stats), place));
            }),
        };
        if let Err(error) = accepted {
            if !std::mem::replace(&mut failing, true) {
                error!(%error, "cannot accept connections; trying again");
            }
            tokio::time::sleep(ACCEPT_AGAIN).await;
        } else {
            failing = false;
        }
    }
}

async fn answer<S>(stream: S, stats: Arc<Stats>, _place: OwnedSemaphorePermit)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stats.answer(stream).await;
}
