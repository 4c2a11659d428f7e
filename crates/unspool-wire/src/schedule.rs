//! The schedule of a daemon: what it is asked about its timers and crons, and what it answers.

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "lowercase")]
pub enum ScheduleAsk {
    /// What there is.
    List {
        /// Entries to leave out at the start: one answer may not hold all.
        #[serde(default)]
        skip: usize,
    },
    /// One is to fire now, whether or not it is paused or this daemon is the one that fires.
    Run {
        /// Which.
        id: String,
    },
    /// One is not to fire until it is resumed. Answered once that is written down.
    Pause {
        /// Which.
        id: String,
        /// Who wants it.
        by: String,
        /// Why.
        #[serde(default)]
        why: Option<String>,
    },
    /// The reverse. Answered once that is written down.
    Resume {
        /// Which.
        id: String,
    },
}

/// That a timer or a cron does not fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerPause {
    /// Of what.
    pub id: String,
    /// What that was called when it was paused.
    pub name: String,
    /// Who has paused it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A signal, every so often.
    Timer,
    /// A signal, in minutes of the calendar.
    Cron,
    /// A command of the configuration, in minutes of the calendar.
    Command,
}

impl EntryKind {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Cron => "cron",
            Self::Command => "command",
        }
    }
}

/// A timer or a cron.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Eight hexadecimal digits, the same in each daemon and after each start, as long as its kind, its
    /// name and its times are the same.
    pub id: String,
    /// What it is.
    pub kind: EntryKind,
    /// The function that handles its signal, the signal, or its command.
    pub name: String,
    /// The uwsgi signal that it raises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// A timer's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// A cron's minute, hour, day, month and weekday, in uWSGI's numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<[i32; 5]>,
    /// When a timer fires next, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
    /// When it last fired in this daemon, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<i64>,
    /// How often it fired in this daemon.
    #[serde(default)]
    pub runs: u64,
    /// A process of this daemon registered it while it ran: it ends with that.
    #[serde(default)]
    pub own: bool,
    /// It does not fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<TimerPause>,
}

/// The schedule of one daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleReport {
    /// Its process.
    pub pid: u32,
    /// Which configuration it runs: daemons of the same one share a schedule.
    pub key: String,
    /// Whether it is the one of them that fires; absent where nobody has decided.
    #[serde(default)]
    pub leads: Option<bool>,
    /// The time zone of its crons, if that has a name.
    #[serde(default)]
    pub zone: Option<String>,
    /// How many entries there are in all.
    pub total: usize,
    /// Some of them.
    pub entries: Vec<Entry>,
}
