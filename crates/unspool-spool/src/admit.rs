//! Admit: whether a spool takes one more task, by the bounds that its submitter knows.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use unspool_core::FreeFloor;
use unspool_sys::space::{Space, space};

use crate::SpoolDir;
use crate::pending::{Asked, Look, Pending, Place};

/// Which bound a task would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The number of pending tasks.
    Tasks,
    /// The bytes of their files.
    Bytes,
    /// What stays free of the disk.
    Space,
    /// The inodes that stay free.
    Inodes,
}

impl Bound {
    /// The option that sets it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Tasks => "spooler-max-pending",
            Self::Bytes => "spooler-max-pending-bytes",
            Self::Space | Self::Inodes => "spooler-min-free",
        }
    }
}

/// A spool that does not take a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolFull {
    /// The spool.
    pub spool: PathBuf,
    /// What the task would pass.
    pub bound: Bound,
    /// The most, or the least, that is allowed.
    pub limit: u64,
    /// What is there without the task.
    pub present: u64,
    /// What the task adds or takes.
    pub wanted: u64,
}

impl SpoolFull {
    /// By how much the task would pass the bound.
    pub fn excess(&self) -> u64 {
        match self.bound {
            Bound::Tasks | Bound::Bytes => {
                self.present.saturating_add(self.wanted).saturating_sub(self.limit)
            }
            Bound::Space | Bound::Inodes => {
                self.limit.saturating_sub(self.present.saturating_sub(self.wanted))
            }
        }
    }
}

impl std::error::Error for SpoolFull {}

impl std::fmt::Display for SpoolFull {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (limit, present, excess) = (self.limit, self.present, self.excess());
        let (spool, option, wanted) = (self.spool.display(), self.bound.option(), self.wanted);
        match self.bound {
            Bound::Tasks => write!(
                to,
                "task not submitted: spool `{spool}` is full: {present} tasks are pending, and \
                 `{option}` is {limit}: this one would be {excess} too many; let workers run some, or \
                 raise the limit"
            ),
            Bound::Bytes => write!(
                to,
                "task not submitted: spool `{spool}` is full: {present} bytes of tasks are pending, \
                 and `{option}` is {limit}: the {wanted} bytes of this one would be {excess} too \
                 many; let workers run some, or raise the limit"
            ),
            Bound::Space => write!(
                to,
                "task not submitted: the disk of spool `{spool}` has {present} bytes free, and \
                 `{option}` asks for {limit}: with this task it would lack {excess}; free some space, \
                 or lower the floor"
            ),
            Bound::Inodes => write!(
                to,
                "task not submitted: the disk of spool `{spool}` has {present} inodes free, and \
                 `{option}` asks for {limit}: with this task it would lack {excess}; delete some \
                 files, or lower the floor"
            ),
        }
    }
}

/// A task that is not admitted.
#[derive(Debug)]
pub(crate) enum AdmitError {
    Full(Box<SpoolFull>),
    /// What was tried, and what the system said.
    Io(&'static str, io::Error),
}

impl SpoolDir {
    /// Takes the place of a task of so many bytes, where places are counted.
    pub(crate) fn admit(&self, bytes: u64) -> Result<Option<Place>, AdmitError> {
        self.admit_beside(bytes, |_| Pending::default())
    }

    /// The same beside tasks that have their places and are not in the spool yet, so that no look at it
    /// finds them.
    pub(crate) fn admit_beside(
        &self,
        bytes: u64,
        beside: impl Fn(Look) -> Pending,
    ) -> Result<Option<Place>, AdmitError> {
        if let Some(floor) = self.bounds.free {
            let found = space(self.top().as_fd())
                .map_err(|error| AdmitError::Io("tell the free space", error))?;
            if let Some((bound, limit, present, wanted)) = lacks(found, floor, bytes) {
                return Err(self.full(bound, limit, present, wanted));
            }
        }
        if !self.bounds.count() {
            return Ok(None);
        }
        let tasks_max = self.bounds.tasks.unwrap_or(u64::MAX);
        let bytes_max = self.bounds.bytes.unwrap_or(u64::MAX);
        let asked = self.ask_place(bytes, beside, |pending| {
            pending.tasks < tasks_max && pending.bytes.saturating_add(bytes) <= bytes_max
        });
        match asked.map_err(|error| AdmitError::Io("count the pending tasks", error))? {
            Asked::Taken(place) => Ok(place),
            Asked::Full(pending) if pending.tasks >= tasks_max => {
                Err(self.full(Bound::Tasks, tasks_max, pending.tasks, 1))
            }
            Asked::Full(pending) => Err(self.full(Bound::Bytes, bytes_max, pending.bytes, bytes)),
        }
    }

    fn full(&self, bound: Bound, limit: u64, present: u64, wanted: u64) -> AdmitError {
        let spool = self.path().to_owned();
        AdmitError::Full(Box::new(SpoolFull { spool, bound, limit, present, wanted }))
    }
}

/// What would be too little with a task of so many bytes: the floor, what is left, what is taken.
fn lacks(space: Space, floor: FreeFloor, bytes: u64) -> Option<(Bound, u64, u64, u64)> {
    let (least, inodes_least) = floor.of(space.bytes, space.inodes);
    let wanted = bytes.div_ceil(space.block_bytes).saturating_mul(space.block_bytes);
    if space.bytes_left < least.saturating_add(wanted) {
        return Some((Bound::Space, least, space.bytes_left, wanted));
    }
    let counted = space.inodes > 0;
    (counted && space.inodes_left < inodes_least.saturating_add(1)).then_some((
        Bound::Inodes,
        inodes_least,
        space.inodes_left,
        1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space =
        Space { bytes: 1000, bytes_left: 100, block_bytes: 10, inodes: 50, inodes_left: 5 };

    #[test]
    fn a_task_takes_whole_blocks_and_one_inode() {
        assert_eq!(lacks(SPACE, FreeFloor::Bytes(80), 20), None);
        let found = lacks(SPACE, FreeFloor::Bytes(80), 21);
        assert_eq!(found, Some((Bound::Space, 80, 100, 30)));
        // A tenth of the bytes is a tenth of the inodes: 5 must stay.
        let roomy = Space { bytes_left: 1000, ..SPACE };
        let found = lacks(roomy, FreeFloor::Bytes(100), 1);
        assert_eq!(found, Some((Bound::Inodes, 5, 5, 1)));
        assert_eq!(lacks(Space { inodes_left: 6, ..roomy }, FreeFloor::Bytes(100), 1), None);
        assert_eq!(
            lacks(Space { inodes: 0, inodes_left: 0, ..roomy }, FreeFloor::Bytes(9), 1),
            None
        );
    }

    #[test]
    fn the_excess_is_what_is_too_much_or_lacks() {
        let full = |bound, limit, present, wanted| {
            SpoolFull { spool: PathBuf::new(), bound, limit, present, wanted }.excess()
        };
        assert_eq!(full(Bound::Tasks, 10, 10, 1), 1);
        assert_eq!(full(Bound::Tasks, 10, 15, 1), 6);
        assert_eq!(full(Bound::Bytes, 1000, 900, 150), 50);
        assert_eq!(full(Bound::Space, 80, 100, 30), 10);
        assert_eq!(full(Bound::Space, 80, 20, 30), 80);
    }
}
