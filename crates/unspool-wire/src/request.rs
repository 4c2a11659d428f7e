//! What any process may ask of the daemon: a JSON object a packet.
//!
//! Children send them over a socket that all of them inherit and get no answer; others connect to
//! the socket `control` in the daemon's folder of a spool, and get one [`Reply`] for each.

use serde::{Deserialize, Serialize};

use crate::cancel::{Cancel, Fate};
use crate::control::{CronSpec, ImportFailure, MonitorSpec, Source, TimerSpec};
use crate::schedule::{ScheduleAsk, ScheduleReport};

/// A request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Request {
    /// Raises a uwsgi signal.
    Signal {
        /// Its number.
        signal: u8,
    },
    /// The sender has a handler for a signal and runs it itself, between two pieces of work.
    Register {
        /// Its number.
        signal: u8,
    },
    /// A timer to add.
    Timer(TimerSpec),
    /// A cron to add.
    Cron(CronSpec),
    /// A file monitor to add.
    Monitor(MonitorSpec),
    /// Source files that the sender has read after its fork.
    Sources {
        /// A part of them.
        sources: Vec<Source>,
    },
    /// An import of the sender's own has failed, and it ends.
    #[serde(rename = "import_failed")]
    ImportFailed(ImportFailure),
    /// The sender waits for a signal, for any if none is named.
    Wait {
        /// Its number.
        #[serde(default)]
        signal: Option<u8>,
    },
    /// A message to mules. Its bytes stand behind the object, after a zero byte.
    Message {
        /// The mule's number; 0: any.
        #[serde(default)]
        mule: i64,
        /// The name of a farm, which goes before the mule.
        #[serde(default)]
        farm: Option<String>,
    },
    /// Import the application anew.
    Reload,
    /// Stop as by SIGTERM.
    Stop,
    /// Seconds between retries, for all spools; 0 is what the configuration says.
    Frequency {
        /// How long.
        seconds: f64,
    },
    /// A task is to be cancelled. It is answered when that is done.
    Cancel(Cancel),
    /// Lines of the log, from one of this number on; the first of all is 0.
    Log {
        /// The number.
        #[serde(default)]
        from: u64,
        /// Whether to answer when there is one, if there is none.
        #[serde(default)]
        wait: bool,
    },
    /// How the daemon and the spool are. Answered with a document.
    Status,
    /// What is known of one task. Its place follows as in [`Request::Cancel`]. Answered with a document.
    Explain,
    /// Where the pending tasks are whose names may stand for a part of an id or of a name, which follows
    /// the object and a zero byte. Answered with a document.
    Find,
    /// About timers and crons.
    Schedule(ScheduleAsk),
}

/// A request with its sender.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Asked {
    /// The number of the worker that says to send it; 0: none.
    #[serde(default)]
    pub worker: u32,
    /// What it asks for.
    #[serde(flatten)]
    pub request: Request,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    /// It is done, or will be.
    Done,
    /// What became of a task that was to be cancelled.
    Cancelled {
        /// That.
        task: Fate,
    },
    /// Lines of the log. They stand behind the object, after a zero byte, each with its newline: JSON
    /// objects as of `spooler-log-format = json`.
    Log {
        /// The number of the first one: more than was asked for if some are gone.
        first: u64,
        /// How many.
        count: u64,
    },
    /// What was asked for, as JSON: behind this object and a zero byte, or, if it is too long for a packet,
    /// in a sealed file in memory whose descriptor comes with it.
    Document {
        /// Its length.
        bytes: u64,
    },
    /// Timers and crons.
    Schedule(ScheduleReport),
    /// There was no room for it, or nobody to take it.
    Refused {
        /// Why.
        error: String,
    },
    /// It makes no sense, and why.
    Failed {
        /// Why.
        error: String,
    },
}
