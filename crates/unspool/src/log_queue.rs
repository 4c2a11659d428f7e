//! The way of log lines to standard error: a bounded queue and a thread that writes.
//!
//! Whoever logs never waits: a reader that stalls costs lines, which are counted, and a standard
//! error that cannot be written costs all of them. Neither stops a task.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait.
const LINES_MAX: usize = 8192;
/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue's open end.
#[derive(Clone)]
pub(crate) struct LogQueue {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl LogQueue {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&receiver, &counted))?;
        Ok(Self { sender, dropped })
    }

    /// Waits until what was logged is written, or nobody seems to read it.
    pub(crate) fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.sender.try_send(Item::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_WAIT);
        }
    }
}

impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(receiver: &Receiver<Item>, dropped: &AtomicU64) {
    let mut stderr = io::stderr();
    for item in receiver {
        // Standard error that cannot be written is nobody's fault that could be told of it.
        match item {
            Item::Line(line) => {
                let _ = stderr.write_all(&line);
            }
            Item::Flush(written) => {
                let _ = written.try_send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                stderr,
                "unspool: {lost} log lines were dropped: they are read too slowly"
            );
        }
    }
}
