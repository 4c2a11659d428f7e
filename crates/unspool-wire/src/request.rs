//! What any process may ask of the daemon: a JSON object a packet.
//!
//! Children send them over a socket that all of them inherit and get no answer; others connect to
//! the socket `control` in the daemon's folder of a spool, and get one [`Reply`] for each.

use serde::{Deserialize, Serialize};

use crate::control::{CronSpec, MonitorSpec, Source, TimerSpec};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    /// It is done, or will be.
    Done,
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
