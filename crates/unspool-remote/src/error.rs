//! Why a task did not reach its receiver, in words that say where, what and what to do.

use std::io;
use std::time::Duration;

use unspool_core::InvalidPriority;
use unspool_core::due::InvalidAt;
use unspool_core::taskfile::{InvalidMessage, TaskId};
use unspool_wire::packet::TooMuch;
use unspool_wire::peer::{Broken, InvalidGreeting, WelcomeError};

/// Bytes that a uWSGI takes unless it is told otherwise.
const UWSGI_BUFFER_BYTES: usize = 4096;

/// A connection that is of no use any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other end closed it, or is gone.
    #[error("the other end closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("nothing came within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// What was sent was not taken in time.
    #[error("it took nothing within {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not of the protocol.
    #[error("it sent {0}")]
    Broken(#[from] Broken),
    /// An answer to nothing.
    #[error("it answered task {0} of this connection, which was not waiting for an answer")]
    Unasked(u32),
    /// Too many tasks are on their way: their answers have to be received first.
    #[error("all tasks that may be on their way are")]
    Full,
    /// The task's own bytes end early, or cannot be read.
    #[error("the task's own bytes cannot be read")]
    Source(#[source] io::Error),
}

impl LinkError {
    /// Whether the connection was lost, which says nothing about the next one.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_))
    }

    /// That of a read or a write.
    pub(crate) fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// A task that was not submitted, or (`Unanswered`) perhaps was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The key `at` is no time.
    #[error(transparent)]
    At(#[from] InvalidAt),
    /// The key `priority` is no folder of a spool.
    #[error(transparent)]
    Priority(#[from] InvalidPriority),
    /// No file can hold the message.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// Nobody could be reached.
    #[error("not sent: cannot connect to `{address}`{hint}")]
    Connect {
        /// Where.
        address: String,
        /// What to do.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An address of TLS, and nothing to check the other end by.
    #[error(
        "not sent: `{address}` is reached by TLS, and nothing says which certificates are good: give \
         `network-ca`, a file of the authorities that you trust"
    )]
    NoTls {
        /// Where.
        address: String,
    },
    /// TLS did not come about.
    #[error("not sent: no TLS with `{address}`{}", if source.kind() == io::ErrorKind::UnexpectedEof {
        ": it closed the connection; does it listen with TLS there (`suwsgi-socket`)?"
    } else {
        ""
    })]
    Tls {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection failed before the task was sent whole.
    #[error("not sent: the connection to `{address}` failed")]
    Lost {
        /// Where.
        address: String,
        /// How.
        source: LinkError,
    },
    /// The receiver closed the connection instead of greeting.
    #[error(
        "not sent: `{address}` closed the connection before it greeted: its `allow-from` leaves this \
         machine out, it has too many connections, or it wants TLS (`tls:{address}`)"
    )]
    Shut {
        /// Where.
        address: String,
    },
    /// The receiver does not want this client.
    #[error("not sent: `{address}` refuses this client: {reason}")]
    Unwelcome {
        /// Where.
        address: String,
        /// Why, in its words.
        reason: String,
    },
    /// What answers is neither unspool nor uWSGI.
    #[error(
        "not sent: `{address}` does not answer as unspool or uWSGI do: is it another server's?"
    )]
    Stranger {
        /// Where.
        address: String,
        /// What was wrong with its answer.
        source: InvalidGreeting,
    },
    /// The receiver has not our key.
    #[error("not sent: `{address}` cannot be trusted")]
    Unproven {
        /// Where.
        address: String,
        /// Why not.
        source: WelcomeError,
    },
    /// A uWSGI far away, where a key is to be proved.
    #[error(
        "not sent: `{address}` answers as a uWSGI, which cannot prove a key, and `network-keys` asks \
         for that: reach it through TLS, or submit to it from a process without that option"
    )]
    Keyless {
        /// Where.
        address: String,
    },
    /// The task is longer than the receiver takes.
    #[error(
        "not sent: the task has {bytes} bytes, and `{address}` takes {most}: raise \
         `network-task-bytes-max` there"
    )]
    TooLong {
        /// Where.
        address: String,
        /// Bytes of the task.
        bytes: u64,
        /// Bytes that are allowed.
        most: u64,
    },
    /// A uWSGI takes no body.
    #[error(
        "not sent: `{address}` is a uWSGI, which takes no `body` over the network: leave it out, or \
         run unspool there"
    )]
    Body {
        /// Where.
        address: String,
    },
    /// A uWSGI's packet cannot hold the pairs.
    #[error("not sent: `{address}` is a uWSGI: leave something out, or run unspool there")]
    Pairs {
        /// Where.
        address: String,
        /// How much they are.
        source: TooMuch,
    },
    /// The receiver will never store it.
    #[error("`{address}` refused the task: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// Why, in its words.
        reason: String,
    },
    /// The receiver cannot store it now.
    #[error("`{address}` cannot store the task now: {reason}")]
    Later {
        /// Where.
        address: String,
        /// Why, in its words.
        reason: String,
    },
    /// A packet cannot announce so much.
    #[error("not sent: it has {bytes} bytes, and a uwsgi packet holds 65535")]
    Packet {
        /// Bytes of it.
        bytes: usize,
    },
    /// A uWSGI said no, and never says why.
    #[error(
        "`{address}` did not store the task: it is a uWSGI without a spooler, or could not write; its \
         log says which"
    )]
    UwsgiRefused {
        /// Where.
        address: String,
    },
    /// A uWSGI said nothing.
    #[error(
        "`{address}`, a uWSGI, closed the connection without an answer to {bytes} bytes: {}",
        if *.bytes > UWSGI_BUFFER_BYTES {
            "they are more than its `buffer-size` (4096 unless it says otherwise)"
        } else {
            "it does not take tasks (its plugin `spooler` is missing), or it stopped"
        }
    )]
    UwsgiClosed {
        /// Where.
        address: String,
        /// Bytes of the pairs.
        bytes: usize,
    },
    /// A uWSGI said something that is no answer.
    #[error(
        "`{address}` sent something that is no answer to a task: it may be stored there or not; is it \
         another server's address?"
    )]
    UwsgiStrange {
        /// Where.
        address: String,
    },
    /// It was sent whole and no answer came.
    #[error(
        "the task {id} was sent to `{address}` and no answer came: it may be stored there or not"
    )]
    Unanswered {
        /// Where.
        address: String,
        /// The task's id; of no use with a uWSGI.
        id: TaskId,
        /// What came instead.
        source: LinkError,
    },
    /// The kernel gave no random bytes.
    #[error("not sent: no random bytes")]
    Random(#[source] io::Error),
}

/// What to do about a connection that was refused.
pub(crate) fn hint(error: &io::Error, path: bool) -> &'static str {
    match (error.kind(), path) {
        (io::ErrorKind::ConnectionRefused, _) => {
            ": nobody listens there; is the daemon running, with `socket = ` this address?"
        }
        (io::ErrorKind::NotFound, true) => {
            ": there is no such socket; is the daemon running, with `socket = ` this path?"
        }
        (io::ErrorKind::PermissionDenied, true) => {
            ": this user may not; `chmod-socket` and `chown-socket` there decide who may"
        }
        (io::ErrorKind::TimedOut, true) => ": it accepts nobody; is its daemon stopped?",
        (io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable, false) => {
            ": no answer from that machine; is it up, and does a firewall let the port through?"
        }
        _ => "",
    }
}
