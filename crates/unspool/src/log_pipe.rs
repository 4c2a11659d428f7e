//! What the daemon's processes print, on its way to the log: a pipe in the place of their standard
//! output and error, and a thread that reads it.
//!
//! Whoever prints waits for this thread alone, which waits for nobody: lines that the log does not
//! take in time are dropped and counted.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use unspool_supervisor::journal::LineRing;
use unspool_sys::poll::{Poll, Waker};
use unspool_sys::{AsFd, background, clock};

use crate::log_queue::LogQueue;
use crate::log_record::Record;

/// A longer line is cut in two.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long the end of the process waits for what was printed last.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

const KEY_PIPE: u64 = 0;
const KEY_DRAIN: u64 = 1;

/// Where a printed line goes.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) queue: LogQueue,
    pub(crate) ring: Arc<LineRing>,
    /// The log is JSON.
    pub(crate) json: bool,
}

impl Printed {
    /// `line` ends with a newline.
    fn put(&self, line: Vec<u8>) {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let record = Record::printed(clock::now_ns(), text);
        let mut json = record.to_json();
        self.ring.push(record.to_kept_json(&json).as_bytes());
        if self.json {
            json.push('\n');
            self.queue.put(json.into_bytes());
        } else {
            self.queue.put(line);
        }
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct LogPipe {
    drain: Arc<Waker>,
    asks: SyncSender<SyncSender<()>>,
}

impl LogPipe {
    /// Puts the pipe in the place of standard output and error, and starts its reader.
    pub(crate) fn start(printed: Printed) -> io::Result<Self> {
        let (reads, writes) = background::pipe()?;
        background::redirect_output(&writes)?;
        let poll = Poll::new()?;
        let drain = Arc::new(Waker::new()?);
        poll.add(reads.as_fd(), KEY_PIPE)?;
        poll.add(drain.as_fd(), KEY_DRAIN)?;
        let (asks, asked) = sync_channel(1);
        let reader = Reader { poll, drain: Arc::clone(&drain), asked, reads, printed };
        std::thread::Builder::new().name("output".to_owned()).spawn(move || reader.run())?;
        Ok(Self { drain, asks })
    }

    /// Waits until what was printed so far is on its way to the log.
    pub(crate) fn drain(&self) {
        let (done, wait) = sync_channel(1);
        if self.asks.try_send(done).is_ok() {
            self.drain.wake();
            let _ = wait.recv_timeout(DRAIN_WAIT);
        }
    }
}

struct Reader {
    poll: Poll,
    drain: Arc<Waker>,
    asked: Receiver<SyncSender<()>>,
    reads: OwnedFd,
    printed: Printed,
}

impl Reader {
    fn run(self) {
        let mut keys = Vec::new();
        let mut lines = Lines::default();
        loop {
            // The end of a line that is not whole yet is not waited for.
            if self.poll.wait(&mut keys, None).is_err() {
                return;
            }
            let more = self.read(&mut lines);
            if keys.contains(&KEY_DRAIN) {
                self.drain.clear();
                lines.finish(&self.printed);
                while let Ok(done) = self.asked.try_recv() {
                    let _ = done.try_send(());
                }
            }
            if !more {
                return;
            }
        }
    }

    /// Reads what there is. `false` when nobody can write any more.
    fn read(&self, lines: &mut Lines) -> bool {
        let mut buffer = vec![0u8; LINE_BYTES_MAX];
        loop {
            match background::read_some(self.reads.as_fd(), &mut buffer) {
                Ok(Some(0)) => {
                    lines.finish(&self.printed);
                    return false;
                }
                Ok(Some(bytes)) => lines.take(&buffer[..bytes], &self.printed),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Cuts what was printed into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, mut bytes: &[u8], printed: &Printed) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..=end]);
            printed.put(std::mem::take(&mut self.rest));
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() >= LINE_BYTES_MAX {
            self.finish(printed);
        }
    }

    fn finish(&mut self, printed: &Printed) {
        if !self.rest.is_empty() {
            self.rest.push(b'\n');
            printed.put(std::mem::take(&mut self.rest));
        }
    }
}
