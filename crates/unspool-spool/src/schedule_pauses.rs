//! Pauses: which timers and crons of a configuration do not fire.
//!
//! A file beside those of the schedule, a line of JSON for each. It is replaced as a whole, by whoever
//! holds its lock, which lies in a file of its own. What a pause means is not decided here.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use unspool_sys::file::{read_at, stat_file, sync_file, write_all};
use unspool_sys::folder::Folder;
use unspool_sys::lock;
use unspool_wire::schedule::TimerPause;

use crate::SpoolView;
use crate::schedule::{SCHEDULE, ScheduleStore, Seen};
use crate::view::sub;

pub(crate) const PAUSED: &[u8] = b"paused";
pub(crate) const PAUSED_LOCK: &[u8] = b"paused-lock";
const ASIDE: &[u8] = b".paused-new";
/// Bytes of the file: more entries than there can be.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How long another one who changes it is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);

impl ScheduleStore {
    /// What is paused. Lines that are damaged are left out.
    pub fn paused(&self) -> io::Result<Vec<TimerPause>> {
        Ok(read(self.pauses())?.1)
    }

    /// The same, if the file is another one than when it was last asked for.
    pub fn paused_if_changed(&mut self) -> io::Result<Option<Vec<TimerPause>>> {
        let stat = self.pauses().stat(PAUSED)?;
        let now = stat.map(|stat| (stat.inode, stat.mtime_ns, stat.ctime_ns));
        if self.seen == Some(now) {
            return Ok(None);
        }
        let (seen, paused) = read(self.pauses())?;
        self.seen = Some(seen);
        Ok(Some(paused))
    }

    /// Adds a pause, in the place of one of the same entry. Returns all. It survives a power cut.
    pub fn pause(&self, pause: TimerPause) -> io::Result<Vec<TimerPause>> {
        self.change(|paused| {
            paused.retain(|other| other.id != pause.id);
            paused.push(pause);
        })
    }

    /// Takes the pause of an entry away. Returns those that are left. It survives a power cut.
    pub fn resume(&self, id: &str) -> io::Result<Vec<TimerPause>> {
        self.change(|paused| paused.retain(|other| other.id != id))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<TimerPause>)) -> io::Result<Vec<TimerPause>> {
        let folder = self.pauses();
        let guard = folder.open_or_create(PAUSED_LOCK)?;
        let locked = lock::within(LOCK_WAIT, || Ok(lock::try_lock(guard.as_fd())?.then_some(())))?;
        locked.ok_or_else(|| io::Error::other("somebody else is changing it"))?;
        let (_, mut paused) = read(folder)?;
        change(&mut paused);
        let mut text = Vec::new();
        for pause in &paused {
            serde_json::to_writer(&mut text, pause)?;
            text.push(b'\n');
        }
        folder.unlink(ASIDE)?;
        let file = folder.create(ASIDE)?;
        let written = write_all(file.as_fd(), &text)
            .and_then(|()| sync_file(file.as_fd()))
            // COMMIT POINT: the old file before, the new one after.
            .and_then(|()| folder.replace(ASIDE, PAUSED));
        if written.is_err() {
            let _ = folder.unlink(ASIDE);
        }
        written?;
        folder.sync()?;
        Ok(paused)
    }
}

/// What is paused of a configuration whose schedule lies in this spool. Creates nothing.
pub fn paused_in(spool: &SpoolView, key: &str) -> io::Result<Vec<TimerPause>> {
    let schedule =
        spool.internal()?.map(|internal| sub(&internal, SCHEDULE)).transpose()?.flatten();
    let own = schedule.map(|schedule| sub(&schedule, key.as_bytes())).transpose()?.flatten();
    own.map_or(Ok(Vec::new()), |own| Ok(read(&own)?.1))
}

fn read(folder: &Folder) -> io::Result<(Seen, Vec<TimerPause>)> {
    let file = match folder.open_to_read(PAUSED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
        other => other?,
    };
    let stat = stat_file(file.as_fd())?;
    let mut text = vec![0; stat.bytes.min(FILE_BYTES_MAX) as usize];
    let got = read_at(file.as_fd(), &mut text, 0)?;
    let lines = text[..got].split(|byte| *byte == b'\n');
    let paused = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok((Some((stat.inode, stat.mtime_ns, stat.ctime_ns)), paused))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::SchedulePlace;

    fn pause(id: &str, why: &str) -> TimerPause {
        let (id, name, why) = (id.to_owned(), "shop.tick".to_owned(), Some(why.to_owned()));
        TimerPause { id, name, by: "root".to_owned(), why, at_ms: 5 }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test damages files on its own")]
    fn pauses_are_kept_and_seen_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let place = || {
            let here = vec![folder.path().to_owned()];
            SchedulePlace::in_state(here, PathBuf::new(), "key".to_owned()).open().unwrap()
        };
        let (one, mut other) = (place(), place());
        assert_eq!(other.paused_if_changed().unwrap(), Some(Vec::new()));
        assert_eq!(other.paused_if_changed().unwrap(), None);
        one.pause(pause("a", "first")).unwrap();
        one.pause(pause("b", "x")).unwrap();
        one.pause(pause("a", "second")).unwrap();
        let both = vec![pause("b", "x"), pause("a", "second")];
        assert_eq!(other.paused_if_changed().unwrap(), Some(both.clone()));
        assert_eq!(other.paused_if_changed().unwrap(), None);
        assert_eq!(place().paused().unwrap(), both);
        assert_eq!(other.resume("b").unwrap(), [pause("a", "second")]);
        let file = folder.path().join("schedule/key/paused");
        std::fs::write(&file, b"damaged\n{}\n").unwrap();
        assert_eq!(one.paused().unwrap(), []);
    }

    #[test]
    fn configurations_can_have_their_pauses_in_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = |key: &str| {
            let here = vec![folder.path().to_owned()];
            let place = SchedulePlace::in_state(here, PathBuf::new(), key.to_owned());
            place.pausing_in("all".to_owned()).open().unwrap()
        };
        let (one, mut other) = (place("one"), place("other"));
        assert!(one.lead().unwrap() && other.lead().unwrap());
        one.pause(pause("a", "x")).unwrap();
        assert_eq!(other.paused_if_changed().unwrap(), Some(vec![pause("a", "x")]));
        assert!(other.is_in_place());
        std::fs::remove_dir_all(folder.path().join("schedule/all")).unwrap();
        assert!(!other.is_in_place());
    }
}
