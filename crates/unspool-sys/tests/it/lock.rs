//! Leases between processes.

use std::fs::File;
use std::os::fd::AsFd;

use unspool_sys::lock::{is_locked, try_lock, unlock};

use crate::child::{Child, no_forks};

fn open(path: &std::path::Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn a_lock_is_held_by_one_process_until_it_is_released_or_the_process_dies() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let mut a = Child::start("lock", &[path]);
    assert_eq!(a.hear(), "locked");
    let mut b = Child::start("lock", &[path]);
    assert_eq!(b.hear(), "refused");
    let ours = open(file.path());
    assert!(!try_lock(ours.as_fd()).unwrap());
    a.kill();
    b.say("again");
    assert_eq!(b.hear(), "locked");
    assert!(b.end().success());
    assert!(try_lock(ours.as_fd()).unwrap());
}

#[test]
fn duplicates_share_a_lock_and_others_are_excluded_also_in_one_process() {
    let _no_forks = no_forks();
    let file = tempfile::NamedTempFile::new().unwrap();
    let (ours, other) = (open(file.path()), open(file.path()));
    let duplicate = ours.try_clone().unwrap();
    assert!(try_lock(ours.as_fd()).unwrap());
    // Again, and by a duplicate: it is the same lock.
    assert!(try_lock(ours.as_fd()).unwrap());
    assert!(try_lock(duplicate.as_fd()).unwrap());
    assert!(!try_lock(other.as_fd()).unwrap());
    drop(ours);
    assert!(!try_lock(other.as_fd()).unwrap());
    unlock(duplicate.as_fd()).unwrap();
    assert!(try_lock(other.as_fd()).unwrap());
}

#[test]
fn a_file_that_is_open_for_reading_alone_cannot_be_locked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let reader = File::open(file.path()).unwrap();
    assert!(try_lock(reader.as_fd()).is_err());
}

#[test]
fn asking_takes_nothing_and_needs_no_right_to_write() {
    let _no_forks = no_forks();
    let file = tempfile::NamedTempFile::new().unwrap();
    let reader = File::open(file.path()).unwrap();
    assert!(!is_locked(reader.as_fd()).unwrap());
    let ours = open(file.path());
    assert!(try_lock(ours.as_fd()).unwrap());
    assert!(is_locked(reader.as_fd()).unwrap());
    unlock(ours.as_fd()).unwrap();
    assert!(!is_locked(reader.as_fd()).unwrap());
}
