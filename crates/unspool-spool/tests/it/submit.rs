//! Submissions: what lies on disk after one, and what does not after one that was refused.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use unspool_core::taskfile::encode;
use unspool_core::{Durability, Message};
use unspool_spool::{SubmitError, read_task, submit, submitted_ns};
use unspool_sys::clock;

use crate::fixture::{
    Fixture, chain, chmod, message, mode_of, name_of, names_in, parse_ours, tasks_in,
};
use crate::os;

const LEVELS: [Durability; 3] = [Durability::None, Durability::File, Durability::Group];

fn mtime_ns(path: &Path) -> i64 {
    let metadata = std::fs::metadata(path).unwrap();
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

#[test]
fn a_task_is_one_private_file_with_exactly_the_encoded_bytes() {
    for level in LEVELS {
        let fixture = Fixture::new();
        let message = message(&[("ud_spool_func", "f"), ("a", "1")], b"body\0bytes");
        let before_ns = clock::now_ns();
        let path = submit(&fixture.spool, &message, level).unwrap();
        let after_ns = clock::now_ns();

        assert_eq!(fixture.tasks(), std::slice::from_ref(&path));
        assert_eq!(names_in(fixture.spool.path()).len(), 2, "the task and `.unspool`");
        assert_eq!(fixture.aside(), [""; 0]);
        assert_eq!(mode_of(&path), 0o600);
        let content = std::fs::read(&path).unwrap();
        let (mark, attempts, parsed) = parse_ours(&path);
        assert_eq!((content, attempts), (encode(&message, mark.id, None).unwrap(), 0));
        assert_eq!(parsed, message);
        let stamp_ms = (mark.id.0 >> 80) as i64;
        assert!((before_ns / 1_000_000..=after_ns / 1_000_000).contains(&stamp_ms));
        // The clock that stamps files ticks every few milliseconds.
        let mtime_ns = mtime_ns(&path);
        assert!((before_ns - 50_000_000..=after_ns).contains(&mtime_ns), "{mtime_ns}");
    }
}

#[test]
fn the_path_is_canonical_also_where_the_spool_was_opened_by_another_one() {
    let fixture = Fixture::new();
    let link = fixture.root().join("link");
    symlink(fixture.spool.path(), &link).unwrap();
    let canonical = fixture.spool.path().canonicalize().unwrap();
    for given in [link, fixture.root().join("spool/../spool/.")] {
        let spool = unspool_spool::SpoolDir::open(&given).unwrap();
        let path = submit(&spool, &message(&[("a", "1")], b""), Durability::None).unwrap();
        assert_eq!(path.parent(), Some(canonical.as_path()));
        assert_eq!(path, path.canonicalize().unwrap());
    }
}

#[test]
fn the_name_tells_host_process_number_and_time() {
    let fixture = Fixture::new();
    let before_us = clock::now_ns() / 1000;
    let paths: Vec<_> = (0..3).map(|_| fixture.submit(&[("a", "1")])).collect();
    let after_us = clock::now_ns() / 1000;
    let host = String::from_utf8(unspool_sys::host::hostname()).unwrap();
    for (number, path) in (1..).zip(&paths) {
        let name = std::str::from_utf8(name_of(path)).unwrap();
        let rest = name.strip_prefix(&format!("uwsgi_spoolfile_on_{host}_")).unwrap();
        let parts: Vec<u64> = rest.split('_').map(|part| part.parse().unwrap()).collect();
        let [pid, count, _random, sec, usec] = parts[..] else { panic!("{name}") };
        assert_eq!((pid, count), (u64::from(std::process::id()), number));
        assert!(usec < 1_000_000);
        let us = submitted_ns(name.as_bytes()).unwrap() / 1000;
        assert_eq!(us as u64, sec * 1_000_000 + usec);
        assert!((before_us..=after_us).contains(&us));
    }
}

#[test]
fn at_is_the_modification_time_to_the_nanosecond_and_stays_in_the_task() {
    let fixture = Fixture::new();
    for (at, expect_ns) in [
        ("1995419124", 1_995_419_124_000_000_000),
        ("1995419124.25", 1_995_419_124_250_000_000),
        ("1995419124.123456789", 1_995_419_124_123_456_789),
        ("17", 17_000_000_000),
    ] {
        let path = fixture.submit(&[("at", at)]);
        assert_eq!(mtime_ns(&path), expect_ns, "{at}");
        assert_eq!(parse_ours(&path).2.get(b"at"), Some(at.as_bytes()));
    }
    for now in ["", "0", "-5"] {
        let path = fixture.submit(&[("at", now)]);
        assert!(clock::now_ns() - mtime_ns(&path) < 3_600_000_000_000, "{now:?}");
    }
}

#[test]
fn a_priority_is_a_private_folder_made_at_first_use() {
    for level in LEVELS {
        let fixture = Fixture::new();
        let message = message(&[("priority", "5"), ("a", "1")], b"");
        let first = submit(&fixture.spool, &message, level).unwrap();
        let second = submit(&fixture.spool, &message, level).unwrap();
        let folder = fixture.path("5");
        assert_eq!(mode_of(&folder), 0o700);
        let mut expected = [first.clone(), second];
        expected.sort();
        assert_eq!(tasks_in(&folder), expected);
        assert_eq!(fixture.tasks().len(), 0);
        assert_eq!(parse_ours(&first).2.get(b"priority"), Some(&b"5"[..]));
    }
    let fixture = Fixture::new();
    let path = fixture.submit(&[("priority", "")]);
    assert_eq!(fixture.tasks(), [path]);
}

#[test]
fn what_is_refused_leaves_nothing_anywhere() {
    let long = "9".repeat(65);
    let key = "k".repeat(65_536);
    for pair in [
        ("priority", "../outside"),
        ("priority", ".."),
        ("priority", "."),
        ("priority", "a/b"),
        ("priority", "/tmp"),
        ("priority", "5\0"),
        ("priority", ".unspool"),
        ("priority", "corrupt"),
        ("priority", "dead"),
        ("priority", "results"),
        ("priority", "uwsgi_spoolfile_on_x"),
        ("priority", &long),
        ("at", "tomorrow"),
        ("at", "1e9"),
        ("at", "99999999999999999999"),
        ("", "empty key"),
        ("unspool", "ours"),
        (&key, "long key"),
    ] {
        let fixture = Fixture::new();
        let given = message(&[("a", "1"), pair], b"");
        let error = submit(&fixture.spool, &given, Durability::Group).unwrap_err();
        let text = chain(&error);
        assert!(text.is_ascii() && text.len() > 20, "{text}");
        assert_eq!(names_in(fixture.root()), ["spool"], "{pair:?}");
        assert_eq!(names_in(fixture.spool.path()), [".unspool"], "{pair:?}");
        assert_eq!(fixture.aside(), [""; 0], "{pair:?}");
    }
}

#[test]
fn a_priority_that_is_no_folder_of_the_spool_is_refused() {
    let fixture = Fixture::new();
    let outside = fixture.root().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.path("link")).unwrap();
    fixture.write("file", b"");
    for priority in ["link", "file"] {
        let given = message(&[("priority", priority)], b"");
        let error = submit(&fixture.spool, &given, Durability::Group).unwrap_err();
        let text = chain(&error);
        assert!(matches!(error, SubmitError::Io { .. }), "{text}");
        assert!(text.contains("priority") && text.contains("spool"), "{text}");
    }
    assert_eq!(names_in(&outside), [""; 0]);
    assert_eq!(fixture.aside(), [""; 0]);
}

#[test]
fn threads_that_submit_at_once_never_share_a_name() {
    let fixture = Fixture::new();
    let paths = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (fixture, paths) = (&fixture, &paths);
            scope.spawn(move || {
                for number in 0..30 {
                    let level = if number < 2 { Durability::Group } else { Durability::None };
                    let text = format!("{thread}.{number}");
                    let given = message(&[("a", &text)], text.as_bytes());
                    let path = submit(&fixture.spool, &given, level).unwrap();
                    assert_eq!(parse_ours(&path).2, given);
                    paths.lock().unwrap().push(path);
                }
            });
        }
    });
    let mut paths = paths.into_inner().unwrap();
    paths.sort();
    assert_eq!(paths, fixture.tasks());
    let ids: HashSet<_> = paths.iter().map(|path| parse_ours(path).0.id).collect();
    assert_eq!(ids.len(), 16 * 30);
    assert_eq!(fixture.aside(), [""; 0]);
}

#[test]
fn a_forked_child_submits_under_names_of_its_own() {
    let fixture = Fixture::new();
    let ours = fixture.submit(&[("from", "parent")]);
    for level in LEVELS {
        let given = message(&[("from", "child")], b"");
        let exit =
            os::in_forked_child(|| i32::from(submit(&fixture.spool, &given, level).is_err()));
        assert_eq!(exit, unspool_sys::process::Exit::Status(0));
    }
    // The counter was copied by the fork: only the process number and the random part differ.
    let tasks = fixture.tasks();
    assert_eq!(tasks.len(), 4);
    let pid = format!("_{}_", std::process::id());
    for task in tasks.iter().filter(|task| **task != ours) {
        assert!(!task.to_str().unwrap().contains(&pid), "{}", task.display());
        assert_eq!(parse_ours(task).2.get(b"from"), Some(&b"child"[..]));
    }
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let ran = os::with_small_disk(root.path(), 128 * 1024, || {
        let spool = unspool_spool::SpoolDir::open(&root.path().join("spool")).unwrap();
        let given = message(&[("a", "1")], &[b'x'; 10_000]);
        let mut done = 0;
        let error = loop {
            match submit(&spool, &given, Durability::Group) {
                Ok(_) => done += 1,
                Err(error) => break error,
            }
            assert!(done < 50, "the disk does not fill");
        };
        let text = chain(&error);
        assert!(text.contains("cannot write a file in spool `"), "{text}");
        assert!(text.contains(root.path().to_str().unwrap()), "{text}");
        assert!(text.contains("No space left"), "{text}");
        let tasks = tasks_in(spool.path());
        assert_eq!(tasks.len(), done);
        assert_eq!(names_in(spool.path()).len(), done + 1, "the tasks and `.unspool`");
        for task in &tasks {
            assert_eq!(parse_ours(task).2, given);
        }
        std::fs::remove_file(&tasks[0]).unwrap();
        submit(&spool, &given, Durability::Group).unwrap();
    });
    if ran.is_none() {
        os::not_run("only root may mount a small disk");
    }
}

#[test]
fn a_folder_that_takes_no_files_is_an_error_that_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.submit(&[("priority", "5")]);
    chmod(fixture.root(), 0o755);
    chmod(&fixture.path("5"), 0o555);
    chmod(fixture.spool.path(), 0o555);
    for (priority, action) in
        [("", "write a file"), ("5", "write a file"), ("6", "make the priority's folder")]
    {
        let given = message(&[("priority", priority)], b"");
        let result = os::as_ordinary_user(|| submit(&fixture.spool, &given, Durability::Group));
        let text = chain(&result.unwrap_err());
        assert!(text.contains(&format!("cannot {action} in spool `")), "{text}");
        assert!(text.contains("Permission denied"), "{text}");
    }
    assert_eq!(names_in(fixture.spool.path()), [".unspool", "5"]);
    assert_eq!(names_in(&fixture.path("5")).len(), 1);
    chmod(&fixture.path("5"), 0o755);
    chmod(fixture.spool.path(), 0o755);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_submitted_is_read(
        pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..20), prop::collection::vec(any::<u8>(), 0..30_000)),
            0..6),
        body in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let special: [&[u8]; 3] = [b"unspool", b"at", b"priority"];
        prop_assume!(pairs.iter().all(|(key, _)| !special.contains(&key.as_slice())));
        let fixture = Fixture::new();
        let given = Message { pairs, body, ..Message::default() };
        let path = submit(&fixture.spool, &given, Durability::None).unwrap();
        let mut read = read_task(&path).unwrap().unwrap();
        let mut expected = given;
        // Long values come last.
        read.pairs.sort();
        expected.pairs.sort();
        prop_assert_eq!(read, expected);
    }
}
