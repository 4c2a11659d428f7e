//! What is done to a task's file after a run.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use unspool_core::taskfile::TaskFile;
use unspool_spool::{
    Claimed, claim, complete, count_failure, has_lost_lease, is_due, move_due, postpone,
};
use unspool_sys::clock;

use crate::fixture::{FOREIGN, Fixture, message, name_of, parse_ours};
use crate::os;

const DUE_NS: i64 = 1_995_419_124_123_456_789;

fn mtime_ns(path: &Path) -> i64 {
    let metadata = std::fs::metadata(path).unwrap();
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

fn open(path: &Path) -> OwnedFd {
    std::fs::File::options().read(true).write(true).open(path).unwrap().into()
}

#[test]
fn a_task_that_is_done_is_deleted_once() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    assert!(complete(fixture.spool.top(), name_of(&path)).unwrap());
    assert!(!path.exists());
    // It may have deleted its own file.
    assert!(!complete(fixture.spool.top(), name_of(&path)).unwrap());
}

#[test]
fn a_task_that_cannot_be_deleted_is_an_error() {
    let fixture = Fixture::undisturbed();
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    assert!(complete(fixture.spool.top(), b"uwsgi_spoolfile_on_folder").is_err());
    assert!(fixture.path("uwsgi_spoolfile_on_folder").exists());
}

#[test]
fn a_task_is_put_off_to_the_nanosecond_and_keeps_its_content() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let before = std::fs::read(&path).unwrap();
    let accessed = std::fs::metadata(&path).unwrap().accessed().unwrap();
    for due_ns in [DUE_NS, 1, 0] {
        postpone(open(&path).as_fd(), due_ns).unwrap();
        assert_eq!(mtime_ns(&path), due_ns);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().accessed().unwrap(), accessed);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_failure_is_counted_in_one_byte_and_leaves_the_due_time() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("a", "1")]);
    let before = std::fs::read(&path).unwrap();
    for expect in 1..=3u8 {
        let Claimed::Task(task) = claim(fixture.spool.top(), name_of(&path), DUE_NS + 9).unwrap()
        else {
            panic!("not claimed")
        };
        assert_eq!(task.attempts, expect - 1);
        let due_ns = DUE_NS + i64::from(expect);
        assert_eq!(count_failure(task.file.as_fd(), task.attempts, due_ns).unwrap(), expect);
        assert_eq!(mtime_ns(&path), due_ns);
        let mut after = std::fs::read(&path).unwrap();
        assert_eq!(parse_ours(&path).1, expect, "the checksum holds");
        assert_eq!(std::mem::take(&mut after[3]), expect);
        assert_eq!(after, before);
    }
}

#[test]
fn the_count_of_failures_ends_at_its_limit() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    for (given, expect) in [(253, 254), (254, 255), (255, 255)] {
        assert_eq!(count_failure(open(&path).as_fd(), given, DUE_NS).unwrap(), expect);
        assert_eq!(parse_ours(&path).1, expect);
    }
}

#[test]
fn failures_of_foreign_tasks_are_counted_too() {
    let fixture = Fixture::undisturbed();
    let path = fixture.write("uwsgi_spoolfile_on_foreign", FOREIGN);
    assert_eq!(count_failure(open(&path).as_fd(), 0, DUE_NS).unwrap(), 1);
    let content = std::fs::read(&path).unwrap();
    assert_eq!((content[3], &content[4..]), (1, &FOREIGN[4..]));
    assert_eq!(TaskFile::parse(&content).unwrap().attempts, 1);
    assert_eq!(mtime_ns(&path), DUE_NS);
}

#[test]
fn a_full_disk_stops_none_of_it() {
    let root = tempfile::tempdir().unwrap();
    let ran = os::with_small_disk(root.path(), 64 * 1024, || {
        let spool = unspool_spool::SpoolDir::open(&root.path().join("spool")).unwrap();
        let given = message(&[("a", "1")], b"");
        let level = unspool_core::Durability::None;
        let paths = [(); 2].map(|()| unspool_spool::submit(&spool, &given, level).unwrap());
        let filler = std::fs::write(root.path().join("filler"), vec![0u8; 100_000]);
        assert_eq!(filler.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        let now_ns = clock::now_ns();
        count_failure(open(&paths[0]).as_fd(), 0, now_ns).unwrap();
        assert_eq!((parse_ours(&paths[0]).1, mtime_ns(&paths[0])), (1, now_ns));
        assert!(complete(spool.top(), name_of(&paths[1])).unwrap());
    });
    if ran.is_none() {
        os::not_run("only root may mount a small disk");
    }
}

#[test]
fn a_due_time_is_moved_if_nobody_changed_or_holds_the_task() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let (top, name) = (fixture.spool.top(), name_of(&path));
    let file = open(&path);
    postpone(file.as_fd(), DUE_NS).unwrap();
    assert!(!move_due(top, name, DUE_NS - 1, 5).unwrap());
    assert!(unspool_sys::lock::try_lock(file.as_fd()).unwrap());
    assert!(!move_due(top, name, DUE_NS, 5).unwrap());
    assert_eq!(mtime_ns(&path), DUE_NS);
    unspool_sys::lock::unlock(file.as_fd()).unwrap();
    assert!(move_due(top, name, DUE_NS, DUE_NS + 7).unwrap());
    assert_eq!(mtime_ns(&path), DUE_NS + 7);
    assert!(matches!(claim(top, name, DUE_NS + 7).unwrap(), Claimed::Task(_)));
    std::fs::remove_file(&path).unwrap();
    assert!(!move_due(top, name, DUE_NS + 7, 5).unwrap());
}

#[test]
fn what_was_due_stays_due_on_a_clock_that_was_set_back() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let (top, name) = (fixture.spool.top(), name_of(&path));
    let hour_ns = 3_600_000_000_000;
    let back_ns = mtime_ns(&path) - hour_ns;
    assert!(matches!(claim(top, name, back_ns).unwrap(), Claimed::Task(_)));
    // A time that had not come when it was given has to come.
    let due_ns = clock::now_ns() + hour_ns;
    postpone(open(&path).as_fd(), due_ns).unwrap();
    assert!(matches!(claim(top, name, due_ns - 1).unwrap(), Claimed::NotDue(at) if at == due_ns));
    assert!(matches!(claim(top, name, due_ns).unwrap(), Claimed::Task(_)));
}

#[test]
fn a_lease_is_lost_where_the_file_cannot_be_read() {
    let fixture = Fixture::undisturbed();
    let file = open(&fixture.submit(&[("a", "1")]));
    assert!(!has_lost_lease(file.as_fd()));
    // Its first page is nobody's, so that reading it is an error of the device.
    let lost = std::fs::File::open("/proc/self/mem").unwrap();
    assert!(has_lost_lease(lost.as_fd()));
}

#[test]
fn a_due_time_that_is_shown_as_change_time_says_nothing() {
    let now_ns = clock::now_ns();
    let later_ns = (now_ns / 1_000_000_000 + 60) * 1_000_000_000;
    let fixture = Fixture::undisturbed();
    let file = open(&fixture.submit(&[("a", "1")]));
    let stat = unspool_sys::file::stat_file(file.as_fd()).unwrap();
    let due = |mtime_ns, ctime_ns| {
        is_due(&unspool_sys::folder::Stat { mtime_ns, ctime_ns, ..stat }, now_ns)
    };
    // sshfs.
    assert!(!due(later_ns, later_ns) && due(later_ns - 120_000_000_000, 0));
    // A clock that was set back.
    assert!(due(later_ns + 1, later_ns + 1) && due(later_ns, later_ns + 1));
    assert!(!due(later_ns, now_ns));
}
