//! The spool directory: one file per verb.
//!
//! Owns file names and folders, and the order of system calls of every verb. Does not decide when
//! something runs (the supervisor does) and knows no processes. Safe with any number of other
//! daemons, submitters and real uWSGI spoolers on the same directory.

mod access;
mod adopt;
mod attempts;
mod bury;
mod claim;
mod durable;
mod finish;
mod garbage;
mod layout;
mod present;
mod quarantine;
mod read;
mod scan;
mod schedule;
mod shared;
mod submit;
mod trust;
mod watch;

pub use access::Access;
pub use adopt::{
    AdoptError, Adoption, Group, HeldTask, Look, Selection, Survey, Verdict, begin_adoption,
    change_adoption, count_nested, look, read_adoption, survey, walk,
};
pub use attempts::{
    Attempt, Ending, buried_name, count_deaths, forget_attempts, note_attempt, read_attempts,
    recorded_names,
};
pub use bury::{Buried, bury, bury_claimed, lift};
pub use claim::{Claim, Claimed, claim};
pub use finish::{complete, count_failure, postpone};
pub use garbage::{GARBAGE_AGE_NS, delete_garbage};
pub use layout::{
    OpenError, PREFIX, SpoolDir, is_aside_name, is_task_name, submitted_at_ns, submitted_ns,
};
pub use present::{ask_daemon, forget_present, listen_control, live_daemon, say_present};
pub use quarantine::{QuarantineError, quarantine};
pub use read::{ReadError, list_jobs, read_all, read_task};
pub use scan::{Found, Scan};
pub use schedule::{SchedulePlace, ScheduleStore};
pub use shared::{Lifetime, shared_lock, shared_store};
pub use submit::{SubmitError, Submitted, submit, submit_measured};
pub use trust::{KeysError, Refused, Standing, Trust, load_keys};
pub use watch::{Change, Watch};
