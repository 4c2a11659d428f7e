//! What processes share beside the tasks: stores, numbered locks, and which daemon is there.

use unspool_spool::{
    Lifetime, SpoolDir, forget_present, list_jobs, live_daemon, say_present, shared_lock,
    shared_store,
};
use unspool_sys::host;

use crate::child::no_forks;
use crate::fixture::{mode_of, names_in};

#[test]
fn stores_and_locks_are_files_of_the_owner_and_no_tasks() {
    let root = tempfile::tempdir().unwrap();
    let spool = SpoolDir::open(root.path()).unwrap();
    let kept = shared_store(&spool, Lifetime::Kept).unwrap();
    let boot = shared_store(&spool, Lifetime::Boot).unwrap();
    let lock = shared_lock(&spool, 7).unwrap();
    for path in [&kept, &boot, &lock] {
        assert_eq!(mode_of(path), 0o600, "{}", path.display());
    }
    assert_eq!(mode_of(boot.parent().unwrap()), 0o700);
    assert!(list_jobs(&spool, 10).unwrap().is_empty());
    assert_eq!(shared_store(&spool, Lifetime::Boot).unwrap(), boot);
}

#[test]
fn stores_of_earlier_boots_go_and_nothing_else_does() {
    let root = tempfile::tempdir().unwrap();
    let spool = SpoolDir::open(root.path()).unwrap();
    let boot = shared_store(&spool, Lifetime::Boot).unwrap();
    let shared = boot.parent().unwrap();
    let name = boot.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::write(&boot, "held").unwrap();
    for other in [&format!("{name}-wal"), "kept.sqlite3", "lock-1", "boot-of-old.sqlite3"] {
        std::fs::write(shared.join(other), "").unwrap();
    }
    std::fs::write(shared.join("boot-of-old.sqlite3-wal"), "").unwrap();
    shared_store(&spool, Lifetime::Boot).unwrap();
    let mut expected = vec![name.clone(), format!("{name}-wal"), "kept.sqlite3".into()];
    expected.push("lock-1".into());
    assert_eq!(names_in(shared), expected);
    assert_eq!(std::fs::read(&boot).unwrap(), b"held");
}

#[test]
fn a_daemon_is_there_while_its_file_is_open() {
    let _no_forks = no_forks();
    let root = tempfile::tempdir().unwrap();
    assert_eq!(live_daemon(root.path()), None);
    assert_eq!(names_in(root.path()), [""; 0]);
    let spool = SpoolDir::open(root.path()).unwrap();
    let dead = spool.make_daemon_folder(b"dead").unwrap();
    drop(say_present(&dead).unwrap());
    let folder = spool.make_daemon_folder(b"daemon").unwrap();
    assert_eq!(live_daemon(root.path()), None);
    let present = say_present(&folder).unwrap();
    assert_eq!(live_daemon(root.path()), Some(host::pid()));
    assert!(say_present(&folder).is_err());
    drop(present);
    assert_eq!(live_daemon(root.path()), None);
    forget_present(&folder).unwrap();
    assert_eq!(names_in(&root.path().join(".unspool/daemons/daemon")), [""; 0]);
}

#[test]
fn a_daemon_of_another_machine_is_none_of_ours() {
    let _no_forks = no_forks();
    let root = tempfile::tempdir().unwrap();
    let spool = SpoolDir::open(root.path()).unwrap();
    let folder = spool.make_daemon_folder(b"daemon").unwrap();
    let _present = say_present(&folder).unwrap();
    let file = root.path().join(".unspool/daemons/daemon/pid");
    std::fs::write(file, "1\nanother-machine\n").unwrap();
    assert_eq!(live_daemon(root.path()), None);
}
