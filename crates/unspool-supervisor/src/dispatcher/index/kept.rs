//! Old tasks of a uWSGI's that wait until somebody decides about them.

use super::{Index, Kept, Seen, State, TaskKey};

impl Index {
    /// Takes in an old task that waits until somebody decides about it.
    pub(in super::super) fn keep(
        &mut self,
        lane: u32,
        name: &[u8],
        seen: Seen,
        epoch: u32,
        function: u32,
    ) {
        let known = self.find(lane, name);
        let key = known.unwrap_or_else(|| self.insert(lane, name, seen, epoch));
        self.leave(key, State::Kept);
        let Some(entry) = self.entry_mut(key) else { return };
        (entry.seen, entry.function, entry.due_ns) = (epoch, function + 1, seen.due_ns);
        (entry.held_ctime_ns, entry.waits) = (seen.ctime_ns, false);
    }

    /// Notes that an old task was seen again. `false` if its file has changed.
    pub(in super::super) fn is_kept_as(
        &mut self,
        lane: u32,
        name: &[u8],
        ctime_ns: i64,
        epoch: u32,
    ) -> bool {
        let Some(key) = self.find(lane, name) else { return false };
        let Some(entry) = self.entry_mut(key) else { return false };
        entry.seen = epoch;
        entry.held_ctime_ns == ctime_ns
    }

    /// How many there are in all of [`Index::kept`].
    pub(in super::super) fn kept_count(&self) -> usize {
        self.kept
    }

    /// The old tasks that wait until somebody decides.
    pub(in super::super) fn kept(&self) -> impl Iterator<Item = Kept> {
        self.entries.iter().enumerate().filter_map(|(id, entry)| {
            let entry = entry.as_ref().filter(|entry| entry.state == State::Kept)?;
            let function = entry.function.wrapping_sub(1);
            let (lane, due_ns) = (entry.lane, entry.due_ns);
            Some(Kept { key: TaskKey(id as u32), lane, function, due_ns })
        })
    }

    /// Lets an old task run like any other.
    pub(in super::super) fn release(&mut self, key: TaskKey, now_ns: i64) {
        let Some(entry) = self.entry_mut(key) else { return };
        let now_ns = now_ns.max(std::mem::take(&mut entry.held_ctime_ns));
        let due_ns = entry.due_ns;
        self.place(key, due_ns, now_ns);
    }
}
