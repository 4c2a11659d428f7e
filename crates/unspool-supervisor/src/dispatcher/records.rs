//! Records of attempts whose task is not pending any more: after a scan they are brought to where
//! their task is, a few at a time, so that a crash in the middle of a burial leaves nothing.

use tracing::warn;
use unspool_spool::{RecordSweep, Tidied};
use unspool_sys::clock;

use super::Dispatcher;
use crate::journal::journal;

/// Records looked at between two looks at everything else.
const STEP_RECORDS: usize = 16;
/// How long after one sweep of all records the next one starts, at the end of a scan.
const SWEEP_EVERY_NS: u64 = 3600 * 1_000_000_000;

/// The state of sweeping.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    running: Option<RecordSweep>,
    next_ns: u64,
}

impl Sweeper {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

impl Dispatcher {
    /// A scan has met all folders: the first one that does starts a sweep, and later ones now and then.
    pub(super) fn sweep_records(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.sweeper.is_running() || now_ns < self.sweeper.next_ns {
            return;
        }
        self.sweeper.next_ns = now_ns + SWEEP_EVERY_NS;
        match RecordSweep::start(&self.dir) {
            Ok(sweep) => self.sweeper.running = Some(sweep),
            Err(error) => warn!(%error, "cannot look through the records of failed tasks"),
        }
    }

    pub(super) fn sweep_step(&mut self) {
        let Some(mut sweep) = self.sweeper.running.take() else { return };
        let now_ns = clock::now_ns();
        let more = sweep.step(&self.dir, &self.folders, now_ns, STEP_RECORDS, |name, result| {
            let task = String::from_utf8_lossy(name);
            match result {
                Ok(Tidied::Followed) => {
                    journal!(
                        BURIAL_ENDED, %task,
                        "ended the burial of a task that a crash cut"
                    );
                }
                Ok(Tidied::Removed) => {
                    journal!(
                        RECORD_REMOVED, %task,
                        "removed the old record of a task that is gone"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    journal!(
                        TASK_UNRECORDED, %task, %error,
                        "cannot look after the record of a failed task"
                    );
                }
            }
        });
        match more {
            Ok(true) => self.sweeper.running = Some(sweep),
            Ok(false) => {}
            Err(error) => warn!(%error, "cannot look through the records of failed tasks"),
        }
    }
}
