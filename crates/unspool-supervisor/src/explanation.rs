//! What a dispatcher knows of one task, and of what keeps it from being claimed: plain values, for
//! those who ask why it does not run.

use serde::{Deserialize, Serialize};

/// The answer about one task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Explanation {
    /// The task; `None` if the dispatcher does not know it.
    pub task: Option<KnownTask>,
    /// What holds for all tasks of its folder.
    pub dispatch: Dispatch,
}

/// Where a task stands in the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Due, waiting for a worker.
    #[default]
    Due,
    /// Not before its time.
    Delayed,
    /// Claimed.
    Claimed,
    /// An old one of a uWSGI's, about which nobody has decided.
    Held,
    /// Due, and its function is paused. One whose folder is paused is due.
    Paused,
}

/// Why a task is put off against what its file says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PutOff {
    /// It is not, or its file says the same.
    #[default]
    No,
    /// Somebody else had it locked.
    Busy,
    /// Its handler left it alone.
    Ignored,
    /// Nobody knew its function.
    Unknown,
    /// It is no whole task, and goes to `corrupt/` unless it changes.
    Damaged,
    /// It may not run, and goes to `corrupt/` unless it changes.
    Refused,
    /// Its file could not be opened or read.
    Unreadable,
}

/// A task in the index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KnownTask {
    /// Where it stands.
    pub standing: Standing,
    /// When it is due or looked at again, in seconds since 1970.
    pub due_at: f64,
    /// Why that is not what its file says.
    pub put_off: PutOff,
    /// Its function, if the task was ever opened.
    pub function: Option<String>,
    /// Its place in the order of serving, if it is due.
    pub position: Option<Position>,
    /// Who has it, if it is claimed.
    pub worker: Option<Holding>,
    /// Somebody has cancelled it while it ran.
    pub cancelled: bool,
    /// It is done, and its file cannot be deleted yet.
    pub undeleted: bool,
}

/// A place among the due tasks, in the order in which they are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Position {
    /// Tasks before it, those of folders that go first included.
    pub before: u64,
    /// Of those, the ones in its own folder.
    pub before_in_folder: u64,
    /// Whether all were looked at one by one; else a few may be counted twice.
    pub exact: bool,
}

/// The worker that has a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Holding {
    /// Its number.
    pub worker: u32,
    /// Its process.
    pub pid: u32,
    /// How long it has run the task; `None` if it has not begun.
    pub running_ms: Option<u64>,
    /// It waits there behind another one, which runs.
    pub behind: bool,
}

/// What holds for all tasks of a folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Dispatch {
    /// Runs that ended in a second, lately; `None` if none did.
    pub rate_per_s: Option<f64>,
    /// The first scan goes on: nothing is claimed before.
    pub starting: bool,
    /// A scan goes on.
    pub scanning: bool,
    /// The daemon stops: nothing is claimed any more.
    pub stopping: bool,
    /// Tasks that are done and whose files cannot be deleted yet.
    pub undeleted: usize,
    /// They are so many that no others are claimed.
    pub undeleted_stops: bool,
    /// Nothing is claimed for so long, since the last claim failed.
    pub claims_rest_ms: Option<u64>,
    /// What the last claim that failed said.
    pub claim_error: Option<String>,
    /// There are more tasks than are kept in memory.
    pub left_out: bool,
    /// What comes next in the folder is not in memory: a scan has to find it.
    pub waits_for_scan: bool,
    /// Failed attempts, deaths of workers and retries after which tasks are given up that do not ask
    /// for something else; 0: never.
    pub attempts_max: u8,
    /// See `attempts_max`.
    pub deaths_max: u8,
    /// See `attempts_max`.
    pub retries_max: u8,
    /// How long a damaged file must not have changed until it is moved to `corrupt/`.
    pub settle_ms: u64,
    /// Workers that may run the folder's tasks, and what they do.
    pub workers: Takers,
}

/// The workers that may run a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Takers {
    /// All of them.
    pub all: usize,
    /// They are being started.
    pub starting: usize,
    /// They finish what they have, or are broken.
    pub leaving: usize,
    /// They have nothing to do.
    pub idle: usize,
    /// They handle a signal.
    pub ticking: usize,
    /// What the others run, the longest first; not all if there are many.
    pub busy: Vec<Busy>,
    /// How many others there are.
    pub busy_count: usize,
}

/// A worker that runs a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Busy {
    /// Its process.
    pub pid: u32,
    /// The task, relative to the spool.
    pub task: String,
    /// Its function, if it names one.
    pub function: String,
    /// For how long.
    pub since_ms: u64,
}

/// Places that may be meant by a part of an id or of a name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Candidates {
    /// Relative to the spool. A name that is not UTF-8 is left out.
    pub places: Vec<String>,
    /// Whether these are all that are pending; else the files have to be listed.
    pub complete: bool,
}
