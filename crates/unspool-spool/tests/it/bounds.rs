//! Bounds on a spool: what is refused, by how much, and how exact the count is.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use unspool_core::{Durability, FreeFloor, Message, SpoolBounds, limits};
use unspool_spool::{Bound, Keeper, Pending, SpoolDir, SpoolFull, SubmitError, submit};
use unspool_sys::{clock, lock};

fn open(path: &Path, bounds: SpoolBounds) -> SpoolDir {
    SpoolDir::open(path).unwrap().bounded(bounds)
}

fn tasks(limit: u64) -> SpoolBounds {
    SpoolBounds { tasks: Some(limit), ..SpoolBounds::default() }
}

fn message(priority: &str) -> Message {
    let pairs = if priority.is_empty() {
        Vec::new()
    } else {
        vec![(b"priority".to_vec(), priority.as_bytes().to_vec())]
    };
    Message { pairs, ..Message::default() }
}

fn put(spool: &SpoolDir) -> Result<std::path::PathBuf, SubmitError> {
    submit(spool, &message(""), Durability::None)
}

fn refused(result: Result<std::path::PathBuf, SubmitError>) -> SpoolFull {
    match result {
        Err(SubmitError::Full(full)) => *full,
        other => panic!("not refused for want of room: {other:?}"),
    }
}

/// Waits until a refusal has become too old to be believed: the spool may be listed again.
fn until_taken(spool: &SpoolDir) {
    let ends = Instant::now() + Duration::from_secs(10);
    while let Err(error) = put(spool) {
        assert!(Instant::now() < ends, "{error}");
    }
}

#[test]
fn a_full_spool_says_what_is_there_and_by_how_much_it_is_passed() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(3));
    for priority in ["", "5", "mail"] {
        submit(&spool, &message(priority), Durability::Group).unwrap();
    }
    let full = refused(put(&spool));
    assert_eq!((full.bound, full.limit, full.present, full.excess()), (Bound::Tasks, 3, 3, 1));
    let text = full.to_string();
    for part in ["3 tasks are pending", "`spooler-max-pending` is 3", "1 too many"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(spool.count_pending().unwrap().tasks, 3);
    // A lower limit of another process says how far the spool is beyond it.
    assert_eq!(refused(put(&open(root.path(), tasks(1)))).excess(), 3);
}

#[test]
fn what_others_delete_and_write_counts() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(2));
    let first = put(&spool).unwrap();
    put(&spool).unwrap();
    refused(put(&spool));
    fs::remove_file(first).unwrap();
    until_taken(&spool);
    refused(put(&spool));
    // As a real uWSGI writes, which knows of no bounds. It is seen when the count is old.
    for name in fs::read_dir(root.path()).unwrap() {
        let path = name.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    for number in 0..5 {
        fs::write(root.path().join(format!("uwsgi_spoolfile_on_host_{number}")), "x").unwrap();
    }
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(refused(put(&spool)).excess(), 4);
}

#[test]
fn bytes_are_counted_with_those_of_the_task() {
    let root = tempfile::tempdir().unwrap();
    let plain = SpoolDir::open(root.path()).unwrap();
    let path = put(&plain).unwrap();
    let each = fs::metadata(path).unwrap().len();
    let limit = 2 * each + 10;
    let spool = open(root.path(), SpoolBounds { bytes: Some(limit), ..SpoolBounds::default() });
    put(&spool).unwrap();
    let full = refused(put(&spool));
    assert_eq!((full.bound, full.present, full.wanted), (Bound::Bytes, 2 * each, each));
    assert_eq!(full.excess(), each - 10);
    assert!(full.to_string().contains("spooler-max-pending-bytes"), "{full}");
}

#[test]
fn free_space_that_is_not_there_refuses_and_says_what_lacks() {
    let root = tempfile::tempdir().unwrap();
    let floor =
        |free| open(root.path(), SpoolBounds { free: Some(free), ..SpoolBounds::default() });
    put(&floor(FreeFloor::Bytes(1))).unwrap();
    let full = refused(put(&floor(FreeFloor::Bytes(u64::MAX))));
    assert_eq!(full.bound, Bound::Space);
    assert!(full.excess() > u64::MAX / 2);
    assert!(full.to_string().contains("spooler-min-free"), "{full}");
    assert_eq!(refused(put(&floor(FreeFloor::Share(FreeFloor::WHOLE)))).bound, Bound::Space);
}

#[test]
fn many_threads_with_spools_of_their_own_pass_no_bound() {
    let root = tempfile::tempdir().unwrap();
    let (accepted, waited) = (AtomicU64::new(0), AtomicU64::new(0));
    // As processes do it, each with an open file of its own; and two threads share each.
    let spools: Vec<SpoolDir> = (0..4).map(|_| open(root.path(), tasks(500))).collect();
    std::thread::scope(|scope| {
        for spool in spools.iter().chain(&spools) {
            scope.spawn(|| {
                for _ in 0..150 {
                    let began_ns = clock::monotonic_ns();
                    match put(spool) {
                        Ok(_) => {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            let took_ns = clock::monotonic_ns() - began_ns;
                            let long = took_ns >= limits::COUNT_LOCK_NS_MAX;
                            waited.fetch_add(u64::from(long), Ordering::Relaxed);
                        }
                        Err(SubmitError::Full(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    let found = spools[0].count_pending().unwrap().tasks;
    assert_eq!(found, accepted.load(Ordering::Relaxed));
    // A refusal can be wrong for ten times what listing takes, and not for ever.
    let until = Instant::now() + Duration::from_secs(10);
    while spools[0].count_pending().unwrap().tasks < 500 {
        assert!(Instant::now() < until, "refused though there is room");
        let _ = put(&spools[0]);
    }
    // What was under way while somebody listed: at most one task of each thread. And who did not get
    // the lock in time, since its holder had no processor, passed uncounted.
    let waited = waited.into_inner();
    assert!(found < 508 + waited, "{found}, {waited} waited");
}

#[test]
fn a_submission_that_fails_gives_its_place_back() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(2));
    put(&spool).unwrap();
    // No folder of that name can be made.
    fs::write(root.path().join("5"), "").unwrap();
    for _ in 0..5 {
        let failed = submit(&spool, &message("5"), Durability::None);
        assert!(matches!(failed, Err(SubmitError::Io { .. })), "{failed:?}");
    }
    put(&spool).unwrap();
    refused(put(&spool));
}

#[test]
fn a_count_that_is_damaged_or_gone_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let record = root.path().join(".unspool/pending");
    let spool = open(root.path(), tasks(2));
    put(&spool).unwrap();
    put(&spool).unwrap();
    for damage in ["", "short", &"?".repeat(64), &"?".repeat(5000)] {
        fs::write(&record, damage).unwrap();
        assert_eq!(refused(put(&spool)).present, 2, "{damage:?}");
    }
    fs::remove_file(&record).unwrap();
    assert_eq!(refused(put(&open(root.path(), tasks(2)))).present, 2);
}

#[test]
fn a_daemon_that_keeps_the_count_spares_the_listing() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(50_000));
    let keeper = Keeper::new(&spool).unwrap().unwrap();
    assert!(Keeper::new(&spool).unwrap().is_none(), "two daemons keep one count");
    keeper.set(Pending { tasks: 49_999, bytes: 0 }).unwrap();
    put(&spool).unwrap();
    // The directory has one task; who lists it finds room.
    let full = refused(put(&spool));
    assert_eq!((full.present, full.excess()), (50_000, 1));
    std::thread::sleep(Duration::from_millis(1100));
    refused(put(&spool));
    keeper.set(Pending { tasks: 7, bytes: 0 }).unwrap();
    put(&spool).unwrap();
    keeper.set(Pending { tasks: 50_000, bytes: 0 }).unwrap();
    refused(put(&spool));
    // A daemon that has died keeps nothing.
    drop(keeper);
    until_taken(&spool);
}

#[test]
fn a_count_is_not_set_while_somebody_changes_it() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(10));
    let keeper = Keeper::new(&spool).unwrap().unwrap();
    let path = root.path().join(".unspool/pending");
    let other = fs::OpenOptions::new().write(true).open(path).unwrap();
    assert!(lock::try_lock_byte(other.as_fd(), 0).unwrap());
    let begun = Instant::now();
    assert!(!keeper.set(Pending { tasks: 1, bytes: 0 }).unwrap());
    assert!(begun.elapsed() < Duration::from_millis(15), "a dispatcher does not wait");
    lock::unlock_byte(other.as_fd(), 0).unwrap();
    assert!(keeper.set(Pending { tasks: 1, bytes: 0 }).unwrap());
}

#[test]
fn a_small_spool_is_listed_though_a_daemon_keeps_its_count() {
    let root = tempfile::tempdir().unwrap();
    let spool = open(root.path(), tasks(10));
    let keeper = Keeper::new(&spool).unwrap().unwrap();
    // What was done since it looked: with a low limit that matters.
    keeper.set(Pending { tasks: 10, bytes: 0 }).unwrap();
    put(&spool).unwrap();
}

#[test]
fn without_bounds_nothing_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let spool = SpoolDir::open(root.path()).unwrap();
    put(&spool).unwrap();
    assert!(!root.path().join(".unspool/pending").exists());
    assert!(!Keeper::is_wanted(&spool));
}
