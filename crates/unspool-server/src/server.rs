//! The thread of the control plane: accepts connections, as many at once as there is room for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{error, info, warn};

use crate::listener::{Listener, Socket};
use crate::stats::{Stats, StatsSettings};
use unspool_supervisor::Inquirer;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// After a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long the end of the thread is waited for.
const END_WAIT: Duration = Duration::from_secs(1);

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
    /// Starts to serve statistics on sockets that are bound. Without any, no thread is started.
    pub fn start(
        mut listeners: Vec<Listener>,
        settings: StatsSettings,
        inquirer: Inquirer,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (sender, ended) = sync_channel(1);
        if listeners.is_empty() {
            return Ok(Self { stop: None, ended, listeners });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
        std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || serve(&runtime, sockets, &stats, stopped, sender))?;
        Ok(Self { stop: Some(stop), ended, listeners })
    }
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

/// Serves until it is told to stop. The sender's end tells that it has.
fn serve(
    runtime: &tokio::runtime::Runtime,
    sockets: Vec<Accepting>,
    stats: &Arc<Stats>,
    stopped: oneshot::Receiver<()>,
    _ended: SyncSender<()>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for socket in sockets {
        runtime.spawn(accept(socket, Arc::clone(&room), Arc::clone(stats)));
    }
    // The sender is never used, only dropped.
    let _ = runtime.block_on(stopped);
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
