//! The way of log lines to where they are written: a bounded queue and a thread that writes.
//!
//! Whoever logs never waits: a reader that stalls costs lines, which are counted, and a place that
//! cannot be written costs all of them. Neither stops a task.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use unspool_supervisor::journal::LOG_UNMOVED;

use crate::log_sink::{Sink, lost_note, note};

/// Lines that wait.
const LINES_MAX: usize = 8192;
/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
    /// Look at `reopen` and `rotate`.
    Wake,
}

/// The queue's open end.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    rotate: Arc<AtomicBool>,
}

impl LogQueue {
    /// Starts the thread. `json`: the lines are JSON.
    pub(crate) fn start(mut sinks: Vec<Sink>, json: bool) -> io::Result<Self> {
        if json {
            sinks.iter_mut().for_each(Sink::speak_json);
        }
        let (sender, receiver) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let reopen = Arc::new(AtomicBool::new(false));
        let rotate = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            sinks,
            json,
            receiver,
            dropped: Arc::clone(&dropped),
            reopen: Arc::clone(&reopen),
            rotate: Arc::clone(&rotate),
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { sender, dropped, reopen, rotate })
    }

    /// Adds a line, or several that belong together.
    pub(crate) fn put(&self, line: Vec<u8>) {
        if self.sender.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the files opened anew before the next line is written.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::SeqCst);
        // A full queue wakes the thread as well.
        let _ = self.sender.try_send(Item::Wake);
    }

    /// Has the log file moved away and begun anew before the next line is written.
    pub(crate) fn rotate(&self) {
        self.rotate.store(true, Ordering::SeqCst);
        let _ = self.sender.try_send(Item::Wake);
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
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer {
    sinks: Vec<Sink>,
    /// Lines are JSON.
    json: bool,
    receiver: Receiver<Item>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    rotate: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self) {
        while let Ok(item) = self.receiver.recv() {
            if self.reopen.swap(false, Ordering::SeqCst) {
                self.reopen_all();
            }
            if self.rotate.swap(false, Ordering::SeqCst) {
                self.sinks.iter_mut().for_each(Sink::rotate);
            }
            match item {
                Item::Line(line) => self.write(&line),
                Item::Flush(written) => {
                    let _ = written.try_send(());
                }
                Item::Wake => {}
            }
            let lost = self.dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.write(lost_note(lost, "they are read too slowly", self.json).as_bytes());
            }
        }
    }

    fn write(&mut self, text: &[u8]) {
        for sink in &mut self.sinks {
            sink.write(text);
        }
    }

    fn reopen_all(&mut self) {
        for sink in &mut self.sinks {
            if let Err(error) = sink.reopen() {
                // It still has the file that it had.
                let message = format!("cannot open the log anew: {error}");
                sink.write(note(&LOG_UNMOVED, message, self.json).as_bytes());
            }
        }
    }
}
