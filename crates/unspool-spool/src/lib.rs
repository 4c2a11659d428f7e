//! The spool directory: one file per verb.
//!
//! Owns file names and folders, and the order of system calls of every verb. Does not decide when
//! something runs (the supervisor does) and knows no processes. Safe with any number of other
//! daemons, submitters and real uWSGI spoolers on the same directory.

mod access;
mod admit;
mod adopt;
mod ask;
mod attempts;
mod bury;
mod cancel;
mod capsule;
mod census;
mod claim;
mod daemons;
mod discard;
mod durable;
mod edit;
mod escape;
mod find;
mod finish;
mod fsck;
mod garbage;
mod hold;
mod inspect;
mod layout;
mod list;
mod part;
mod pause;
mod pending;
mod present;
mod quarantine;
mod read;
mod receive;
mod records;
mod relayed;
mod relocate;
mod retry;
mod runner;
mod running;
mod scan;
mod schedule;
mod schedule_pauses;
mod shared;
mod submit;
mod trust;
mod view;
mod watch;

pub use access::Access;
pub use admit::{Bound, SpoolFull};
pub use adopt::{
    AdoptError, Adoption, Group, HeldTask, Look, Selection, Survey, Verdict, begin_adoption,
    change_adoption, count_nested, look, read_adoption, survey, view_adoption, walk,
};
pub use ask::{Asked, Documents, ask_documents};
pub use attempts::{
    Attempt, Ending, RecordError, buried_name, count_deaths, forget_attempts, note_attempt,
    read_attempts, recorded_names, records, view_attempts,
};
pub use bury::{Buried, bury, bury_claimed, lift};
pub use cancel::{Became, CancelError, Cancellation, Removal, remove_pending};
pub use capsule::{Capsule, CapsuleError};
pub use census::{Census, Depth, UnreadFolder, census, census_kept};
pub use claim::{Claim, Claimed, claim, is_due};
pub use daemons::{
    DeadNotes, LivingDaemon, Trace, is_abandoned, remove_daemon, runs_in, take_dead_notes,
};
pub use discard::{discard, discard_records};
pub use edit::{Edit, EditError, Editing};
pub use find::{
    FindError, Kept, Place, Sought, TaskName, Whereabouts, find_among, find_one, find_task,
    priorities, spool_of, task_name,
};
pub use finish::{
    LEASE_LOST, complete, count_failure, has_lost_lease, move_due, postpone, postpone_waiting,
};
pub use fsck::{Check, Finding, FsckError, FsckOptions, Level, Remedy, Summary, Told, fsck};
pub use garbage::{GARBAGE_AGE_NS, delete_garbage};
pub use inspect::{TaskState, TaskSummary, inspect};
pub use layout::{
    OpenError, PREFIX, SpoolDir, is_aside_name, is_task_name, submitted_at_ns, submitted_ns,
    submitter,
};
pub use list::{List, Listed, Shelves, list, listed};
pub use part::Part;
pub use pause::{Pause, PauseError, Pauses, Scope, pause, read_pauses, resume, resume_all};
pub use pending::{Keeper, Pending};
pub use present::{
    OtherHost, Question, ask_daemon, ask_daemon_of, ask_daemons, daemon_of_another_host,
    forget_present, is_of_another_host, listen_control, live_daemon, live_daemons,
    look_for_daemons, say_present,
};
pub use quarantine::{QuarantineError, quarantine};
pub use read::{ReadError, list_jobs, read_all, read_task};
pub use receive::{Begun, Incoming, ReceiveError, Reception, Source, Stored};
pub use records::{RecordSweep, Tidied};
pub use relayed::{Link, RelayState, lead_relay, read_relay, say_relay};
pub use relocate::{Relocated, Relocation, relocate};
pub use retry::{Retried, origin, retry};
pub use runner::{Runner, runner};
pub use running::{Run, RunNotes};
pub use scan::{Found, Scan};
pub use schedule::{SchedulePlace, ScheduleStore};
pub use schedule_pauses::paused_in;
pub use shared::{Lifetime, shared_lock, shared_store};
pub use submit::{SubmitError, Submitted, submit, submit_measured};
pub use trust::{KeysError, Refused, Standing, Trust, load_keys, load_keys_of};
pub use view::SpoolView;
pub use watch::{Change, Watch};
