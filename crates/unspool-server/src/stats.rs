//! The stats server: whoever connects gets one document, and the connection is closed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;
use unspool_supervisor::{Inquirer, Reply, Snapshot};

use crate::document::{Identity, render};

/// A connection takes no longer than this, whatever its peer does.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// How long the daemon may take to answer: its own bound is much shorter.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);
/// How long a client of HTTP may take to ask before it is answered anyway.
const REQUEST_WAIT: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: usize = 8192;
/// How long what a peer sent is read before the connection is closed: closed with bytes unread, it
/// is reset, and the peer may lose the document.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// uWSGI's, byte for byte.
const HTTP_HEAD: &[u8] = b"HTTP/1.0 200 OK\r\nConnection: close\r\n\
    Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\r\n";

/// How statistics are served.
#[derive(Debug)]
pub struct StatsSettings {
    /// With a head of HTTP, after a request.
    pub http: bool,
    /// Without tabs and newlines.
    pub minified: bool,
    /// What is said of the process.
    pub identity: Identity,
}

#[derive(Debug)]
pub(crate) struct Stats {
    settings: StatsSettings,
    inquirer: Inquirer,
    /// The last one: all who ask at once share one.
    last: Mutex<Option<Rendered>>,
}

/// A document, and what it was made from.
#[derive(Debug)]
struct Rendered {
    of: Arc<Snapshot>,
    document: Arc<[u8]>,
}

impl Stats {
    pub(crate) fn new(settings: StatsSettings, inquirer: Inquirer) -> Self {
        Self { settings, inquirer, last: Mutex::new(None) }
    }

    /// Serves one connection. A peer that does not read, or goes away, ends it.
    pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let served = async {
            if self.settings.http {
                let _ = timeout(REQUEST_WAIT, read_request(&mut stream)).await;
            }
            let Some(document) = self.document().await else { return };
            if self.send(&mut stream, &document).await.is_ok() {
                let _ = timeout(DRAIN_WAIT, drain(&mut stream)).await;
            }
        };
        let _ = timeout(CONNECTION_WAIT, served).await;
    }

    async fn send<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        document: &[u8],
    ) -> std::io::Result<()> {
        if self.settings.http {
            stream.write_all(HTTP_HEAD).await?;
        }
        stream.write_all(document).await?;
        stream.shutdown().await
    }

    /// The document of now; `None` if the daemon ends or does not answer.
    async fn document(&self) -> Option<Arc<[u8]>> {
        let (sender, answer) = oneshot::channel();
        let reply = Reply::new(move |snapshot| {
            // Whoever asked may be gone.
            let _ = sender.send(snapshot);
        });
        if !self.inquirer.ask(reply) {
            return None;
        }
        let Ok(answer) = timeout(SNAPSHOT_WAIT, answer).await else {
            warn!("the daemon does not answer; a request for statistics is closed");
            return None;
        };
        let snapshot = answer.ok()?;
        let mut last = self.last.lock().ok()?;
        if let Some(known) = last.as_ref().filter(|known| Arc::ptr_eq(&known.of, &snapshot)) {
            return Some(Arc::clone(&known.document));
        }
        let settings = &self.settings;
        let document: Arc<[u8]> =
            render(&snapshot, &settings.identity, settings.minified).ok()?.into();
        *last = Some(Rendered { of: snapshot, document: Arc::clone(&document) });
        Some(document)
    }
}

/// Reads the head of a request, which is not looked at.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut request = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
        request.extend_from_slice(&buffer[..bytes]);
        let ends = request.windows(4).any(|four| four == b"\r\n\r\n");
        if ends || request.len() > REQUEST_BYTES_MAX {
            return;
        }
    }
}

async fn drain<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = [0u8; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
