//! Asking the daemon how it is, from another thread and without ever holding it up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use unspool_sys::poll::Waker;

use crate::snapshot::Snapshot;

/// Gets the answer. It is dropped without one if the daemon ends first or is asked too much at once.
pub struct Reply(Box<Callback>);

type Callback = dyn FnOnce(Arc<Snapshot>) + Send;

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

impl Reply {
    /// Calls `to` with the answer, on the supervisor's thread: it must neither wait nor take long.
    pub fn new(to: impl FnOnce(Arc<Snapshot>) + Send + 'static) -> Self {
        Self(Box::new(to))
    }

    pub(crate) fn send(self, snapshot: Arc<Snapshot>) {
        (self.0)(snapshot);
    }
}

/// Inquiries that wait to be read.
pub(crate) const INQUIRIES_MAX: usize = 256;

/// The asking end.
#[derive(Debug, Clone)]
pub struct Inquirer {
    sender: SyncSender<Reply>,
    waker: Arc<Waker>,
}

/// The daemon's end.
#[derive(Debug)]
pub struct Inquiries {
    receiver: Receiver<Reply>,
    waker: Arc<Waker>,
}

/// Both ends of a way to ask.
pub fn inquiries() -> io::Result<(Inquirer, Inquiries)> {
    let waker = Arc::new(Waker::new()?);
    let (sender, receiver) = sync_channel(INQUIRIES_MAX);
    Ok((Inquirer { sender, waker: Arc::clone(&waker) }, Inquiries { receiver, waker }))
}

impl Inquirer {
    /// Asks for a snapshot and does not wait for it. What happened before is in it. `false` if too
    /// many wait already, or the daemon has ended.
    pub fn ask(&self, reply: Reply) -> bool {
        let asked = self.sender.try_send(reply).is_ok();
        self.waker.wake();
        asked
    }
}

impl Inquiries {
    /// Readable when somebody asks.
    pub(crate) fn waker(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    /// The next inquiry.
    pub(crate) fn next(&self) -> Option<Reply> {
        self.receiver.try_recv().ok()
    }

    /// Looks at what comes after this call as something new.
    pub(crate) fn clear(&self) {
        self.waker.clear();
    }
}
