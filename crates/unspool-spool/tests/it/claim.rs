//! Claims: who gets a task, and what is no task.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use unspool_core::taskfile::peek;
use unspool_spool::{Claim, Claimed, Found, Scan, claim, complete, postpone};
use unspool_sys::{clock, lock};

use crate::child::{Child, no_forks};
use crate::fixture::{FOREIGN, Fixture, chmod, name_of};
use crate::os;

fn try_claim(fixture: &Fixture, name: &[u8]) -> Claimed {
    claim(fixture.spool.top(), name, clock::now_ns()).unwrap()
}

/// Claims a task that is free, or will be in a moment: what another test forked before this one
/// could keep it from forking may still be about to close its copies of our descriptors.
fn claimed(fixture: &Fixture, path: &Path) -> Claim {
    let until_ns = clock::monotonic_ns() + 10_000_000_000;
    loop {
        match try_claim(fixture, name_of(path)) {
            Claimed::Task(claim) => return claim,
            Claimed::Busy(_) if clock::monotonic_ns() < until_ns => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_claim_tells_function_and_attempts() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("a", "1")]);
    let claim = claimed(&fixture, &path);
    assert_eq!((claim.attempts, claim.function.as_deref()), (0, Some(&b"f"[..])));
    assert_eq!(claim.stat.bytes, std::fs::metadata(&path).unwrap().len());

    let path = fixture.submit(&[("a", "1")]);
    assert_eq!(claimed(&fixture, &path).function, None);

    let path = fixture.write("uwsgi_spoolfile_on_foreign", FOREIGN);
    let claim = claimed(&fixture, &path);
    assert_eq!((claim.attempts, claim.function.as_deref()), (0, Some(&b"f"[..])));
}

#[test]
fn a_claim_and_the_lock_of_uwsgi_exclude_each_other() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    let mut other = Child::start("lock", &[path.to_str().unwrap()]);
    let _no_forks = no_forks();
    assert_eq!(other.hear(), "locked");
    assert!(matches!(try_claim(&fixture, name_of(&path)), Claimed::Busy { .. }));
    other.say("release");
    assert_eq!(other.hear(), "released");
    let claim = claimed(&fixture, &path);
    other.say("try again");
    assert_eq!(other.hear(), "refused");
    drop(claim);
    other.say("try again");
    assert_eq!(other.hear(), "locked");
    // It dies with its lock.
    other.kill();
    claimed(&fixture, &path);
}

#[test]
fn two_claims_of_one_process_exclude_each_other() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let first = claimed(&fixture, &path);
    let Claimed::Busy(stat) = try_claim(&fixture, name_of(&path)) else { panic!("claimed twice") };
    assert_eq!(stat, first.stat);
    drop(first);
    claimed(&fixture, &path);
}

#[test]
fn the_lease_lasts_until_its_last_duplicate_is_closed_or_it_is_unlocked() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    let claim = claimed(&fixture, &path);
    let ours = claim.file.try_clone().unwrap();
    let theirs = Stdio::from(claim.file.try_clone().unwrap());
    let mut worker = Child::start_with(&[], "hold", &[], theirs);
    let _no_forks = no_forks();
    assert_eq!(worker.hear(), "ready");
    drop(claim);
    assert!(matches!(try_claim(&fixture, name_of(&path)), Claimed::Busy { .. }));
    drop(ours);
    assert!(matches!(try_claim(&fixture, name_of(&path)), Claimed::Busy { .. }));
    worker.kill();
    let claim = claimed(&fixture, &path);

    let duplicate = claim.file.try_clone().unwrap();
    lock::unlock(claim.file.as_fd()).unwrap();
    drop(claimed(&fixture, &path));
    drop(duplicate);
}

#[test]
fn every_task_goes_to_exactly_one_of_many_claimers() {
    let fixture = Fixture::undisturbed();
    let names: Vec<Vec<u8>> =
        (0..150).map(|_| name_of(&fixture.submit(&[("a", "1")])).to_vec()).collect();
    let runs: Mutex<HashMap<&[u8], u32>> = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (names, runs, fixture) = (&names, &runs, &fixture);
            scope.spawn(move || {
                // All run through the same names, from different ends and more than once, so that
                // many open a file that another one is just finishing.
                for _ in 0..4 {
                    for at in 0..names.len() {
                        let at = if thread % 2 == 0 { at } else { names.len() - 1 - at };
                        let name = &names[at];
                        if let Claimed::Task(task) = try_claim(fixture, name) {
                            *runs.lock().unwrap().entry(name).or_default() += 1;
                            assert!(complete(fixture.spool.top(), name).unwrap());
                            drop(task);
                        }
                    }
                }
            });
        }
    });
    let runs = runs.into_inner().unwrap();
    assert_eq!(runs.len(), names.len());
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}

#[test]
fn a_task_that_was_deleted_or_renamed_since_it_was_listed_is_gone() {
    let fixture = Fixture::undisturbed();
    let (a, b) = (fixture.submit(&[("a", "1")]), fixture.submit(&[("a", "2")]));
    let mut names = Vec::new();
    let mut scan = Scan::start(fixture.spool.top()).unwrap();
    let more = scan.step(fixture.spool.top(), 100, |found| {
        if let Found::Task { name, .. } = found {
            names.push(name);
        }
    });
    assert!(!more.unwrap());
    assert_eq!(names.len(), 2);
    std::fs::remove_file(&a).unwrap();
    let renamed = fixture.path("uwsgi_spoolfile_on_renamed");
    std::fs::rename(&b, &renamed).unwrap();
    for name in names {
        assert!(matches!(try_claim(&fixture, &name), Claimed::Gone));
    }
    claimed(&fixture, &renamed);
    assert!(matches!(try_claim(&fixture, b"uwsgi_spoolfile_on_never"), Claimed::Gone));
}

#[test]
fn a_task_that_is_deleted_or_replaced_between_open_and_lock_is_gone() {
    if !os::can_trace() {
        return os::not_run("strace is missing, or may not trace");
    }
    for replaced in [false, true] {
        let fixture = Fixture::new();
        let path = fixture.submit(&[("a", "1")]);
        let log = fixture.root().join("trace");
        let words = ["strace", "-f", "-o", log.to_str().unwrap(), "-e", "trace=fcntl", "-e"];
        // The lock is asked for that many microseconds late.
        let words = [&words[..], &["inject=fcntl:delay_enter=300000"]].concat();
        let words: Vec<&OsStr> = words.into_iter().map(OsStr::new).collect();
        let spool = fixture.spool.path().to_str().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let other = Child::start_with(&words, "claim", &[spool, name], Stdio::inherit());
        let descriptors = Path::new("/proc").join(other.hear()).join("fd");
        wait_until_open(&descriptors, &path);
        if replaced {
            std::fs::rename(fixture.submit(&[("a", "2")]), &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(other.hear(), "gone");
        assert!(other.end().success());
        assert_eq!(path.exists(), replaced);
    }
}

/// Waits until a process has a file open.
fn wait_until_open(descriptors: &Path, path: &Path) {
    let until_ns = clock::monotonic_ns() + 10_000_000_000;
    loop {
        let mut links = std::fs::read_dir(descriptors)
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        if links.any(|link| link == path) {
            return;
        }
        assert!(clock::monotonic_ns() < until_ns, "it is not opened in time");
        std::thread::yield_now();
    }
}

#[test]
fn another_file_under_the_name_of_a_held_task_is_another_task() {
    let fixture = Fixture::undisturbed();
    let (held, other) = (fixture.submit(&[("a", "1")]), fixture.submit(&[("a", "2")]));
    let first = claimed(&fixture, &held);
    std::fs::rename(&other, &held).unwrap();
    let second = claimed(&fixture, &held);
    assert_ne!(first.stat.inode, second.stat.inode);
}

#[test]
fn a_task_is_not_claimed_before_its_time() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("at", "1995419124.5")]);
    let due_ns = 1_995_419_124_500_000_000;
    let top = fixture.spool.top();
    for (now_ns, due) in [(due_ns - 1, false), (due_ns, true), (due_ns + 1, true)] {
        match claim(top, name_of(&path), now_ns).unwrap() {
            Claimed::Task(_) => assert!(due),
            Claimed::NotDue(at_ns) => assert_eq!((at_ns, due), (due_ns, false)),
            other => panic!("{other:?}"),
        }
    }
    // Whoever held it before may have put it off: what counts is what the file says under the
    // lock. Being told so leaves it unlocked.
    let claim = claim_at(&fixture, &path, due_ns);
    postpone(claim.file.as_fd(), due_ns + 5).unwrap();
    drop(claim);
    let again = unspool_spool::claim(top, name_of(&path), due_ns).unwrap();
    assert!(matches!(again, Claimed::NotDue(at_ns) if at_ns == due_ns + 5));
    claim_at(&fixture, &path, due_ns + 5);
}

fn claim_at(fixture: &Fixture, path: &Path, now_ns: i64) -> Claim {
    match claim(fixture.spool.top(), name_of(path), now_ns).unwrap() {
        Claimed::Task(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_file_is_no_task_and_blocks_nobody() {
    let fixture = Fixture::undisturbed();
    let target = fixture.submit(&[("a", "1")]);
    symlink(&target, fixture.path("uwsgi_spoolfile_on_link")).unwrap();
    symlink("nowhere", fixture.path("uwsgi_spoolfile_on_dangling")).unwrap();
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    let fifo = fixture.path("uwsgi_spoolfile_on_fifo");
    os::make_fifo(&fifo);
    let socket = fixture.path("uwsgi_spoolfile_on_socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    for name in ["link", "dangling", "folder", "fifo", "socket"] {
        let full = format!("uwsgi_spoolfile_on_{name}");
        let result = try_claim(&fixture, full.as_bytes());
        assert!(matches!(result, Claimed::NotATask), "{name}: {result:?}");
    }
    claimed(&fixture, &target);
}

#[test]
fn every_truncation_of_ours_is_suspect_and_not_held() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("a", "1")]);
    let whole = std::fs::read(&path).unwrap();
    let name = "uwsgi_spoolfile_on_cut";
    for bytes in 0..whole.len() {
        let cut = fixture.write(name, &whole[..bytes]);
        match try_claim(&fixture, name.as_bytes()) {
            Claimed::Suspect(stat) => assert_eq!(stat.bytes, bytes as u64),
            other => panic!("{bytes} bytes: {other:?}"),
        }
        let file = File::options().write(true).open(cut).unwrap();
        assert!(lock::try_lock(file.as_fd()).unwrap(), "{bytes} bytes");
    }
    let longer = [whole.as_slice(), b"x"].concat();
    fixture.write(name, &longer);
    assert!(matches!(try_claim(&fixture, name.as_bytes()), Claimed::Suspect(_)));
    fixture.write(name, &whole);
    claimed(&fixture, &fixture.path(name));
}

#[test]
fn a_foreign_file_is_suspect_while_it_is_shorter_than_its_pairs() {
    let fixture = Fixture::undisturbed();
    let name = "uwsgi_spoolfile_on_foreign";
    let announced = peek(FOREIGN).unwrap().announced as usize;
    for bytes in 0..=FOREIGN.len() {
        let path = fixture.write(name, &FOREIGN[..bytes]);
        match try_claim(&fixture, name.as_bytes()) {
            Claimed::Suspect(_) => assert!(bytes < announced, "{bytes}"),
            Claimed::Task(_) => assert!(bytes >= announced, "{bytes}"),
            other => panic!("{bytes} bytes: {other:?}"),
        }
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_task_with_two_names_runs() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    std::fs::hard_link(&path, fixture.root().join("backup")).unwrap();
    assert_eq!(claimed(&fixture, &path).stat.links, 2);
}

#[test]
fn a_file_that_may_not_be_opened_is_an_error_and_stays() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let before = std::fs::read(&path).unwrap();
    chmod(fixture.root(), 0o755);
    chmod(fixture.spool.path(), 0o755);
    chmod(&path, 0o400);
    let top = fixture.spool.top();
    let error = os::as_ordinary_user(|| claim(top, name_of(&path), clock::now_ns()).unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
