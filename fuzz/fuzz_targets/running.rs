//! Any bytes as the notes of what ran: what a dead daemon left. The first byte is a row.
#![no_main]

use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;
use unspool_fuzz::scratch;
use unspool_spool::{Run, RunNotes, runs_in, take_dead_notes};
use unspool_sys::folder::Folder;
use unspool_sys::slots::HandedTask;

const ROW_BYTES: usize = 64;
/// Notes are read at once, and no more than so many rows.
const BYTES_MAX: usize = 16 << 20;

fuzz_target!(|data: &[u8]| bounded(BYTES_MAX, || check(data)));

fn check(data: &[u8]) {
    let Some((row, content)) = data.split_first() else { return };
    let path = scratch::write("running", content);
    let folder = Folder::open(scratch::folder()).expect("the folder");
    let Some(notes) = take_dead_notes(&folder) else { return assert!(content.is_empty()) };
    let before = runs_in(&notes).expect("a file that can be read");
    assert!(before.len() <= content.len().div_ceil(ROW_BYTES));
    let file = std::fs::File::options().read(true).write(true).open(path).expect("it is there");
    let (live, row) =
        (RunNotes::from(file.as_fd().try_clone_to_owned().expect("a copy")), usize::from(*row));
    let task = HandedTask { inode: 7, ctime_ns: i64::MIN, limit_ms: 0 };
    live.starts(row, task, u64::MAX, 9).expect("room");
    live.cancels(row, task, u64::MAX).expect("room");
    let run = Run { inode: 7, ctime_ns: i64::MIN, pid: 9, cancelled: true };
    // It started last.
    assert_eq!(runs_in(&notes).expect("as before").last(), Some(&run));
    live.ends(row).expect("room");
    assert!(runs_in(&notes).expect("as before").iter().all(|found| before.contains(found)));
}
