//! Tasks of other machines: stored once, whole or not at all, whoever dies in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use unspool_core::signing::Keyring;
use unspool_core::taskfile::{Mark, TaskId, encode};
use unspool_core::{Message, Origin, SpoolBounds};
use unspool_spool::{Begun, ReceiveError, Reception, Source, SpoolDir, Stored};

use crate::fixture::{chain, message, mode_of, names_in, parse_ours, tasks_in};

const KEYS: &str = "a 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
const FROM: Source = Source { origin: Origin::Network, may_be_unsigned: false };

/// A spool that receives.
struct Received {
    root: tempfile::TempDir,
    reception: Arc<Reception>,
}

impl Received {
    fn new() -> Self {
        Self::with(|spool| spool)
    }

    fn with(make: impl Fn(SpoolDir) -> SpoolDir) -> Self {
        let root = tempfile::tempdir().unwrap();
        let spool = make(SpoolDir::open(&root.path().join("spool")).unwrap());
        let reception = Arc::new(Reception::open(Arc::new(spool)).unwrap());
        Self { root, reception }
    }

    /// Another receiver on the same spool, as after a restart or of another daemon.
    fn again(&self) -> Arc<Reception> {
        Arc::new(Reception::open(Arc::new(SpoolDir::open(&self.path("")).unwrap())).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("spool").join(name)
    }

    fn incoming(&self) -> Vec<String> {
        names_in(&self.path(".unspool/incoming"))
    }

    fn take(&self, file: &[u8]) -> Result<Stored, ReceiveError> {
        take(&self.reception, file, FROM)
    }
}

fn take(reception: &Arc<Reception>, file: &[u8], from: Source) -> Result<Stored, ReceiveError> {
    let head_bytes = 4 + usize::from(u16::from_le_bytes([file[1], file[2]]));
    let (head, rest) = file.split_at(head_bytes);
    match reception.begin(head, file.len() as u64, from)? {
        Begun::Stored(stored) => Ok(stored),
        Begun::Incoming(mut incoming) => {
            for piece in rest.chunks(1000) {
                incoming.write(piece)?;
            }
            incoming.store()
        }
    }
}

fn id(number: u8) -> TaskId {
    TaskId::new(1_795_417_858_508, [number; 10])
}

fn file(number: u8) -> Vec<u8> {
    encode(&message(&[("a", "1")], b"a body"), id(number), None).unwrap()
}

#[test]
fn a_task_is_stored_as_it_was_sent_and_says_where_it_came_from() {
    let spool = Received::new();
    let given = message(&[("ud_spool_func", "f"), ("priority", "5"), ("at", "1700000000.5")], b"b");
    assert_eq!(spool.take(&encode(&given, id(7), None).unwrap()).unwrap(), Stored::New);
    let [path] = &tasks_in(&spool.path("5"))[..] else { panic!("not one task") };
    let (Mark { id: stored, .. }, attempts, read) = parse_ours(path);
    assert_eq!((stored, attempts), (id(7), 0));
    assert_eq!(read, Message { origin: Origin::Network, ..given });
    assert_eq!(mode_of(path), 0o600);
    let due = path.metadata().unwrap().modified().unwrap();
    assert_eq!(due.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(), 1_700_000_000_500);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("uwsgi_spoolfile_on_{}_0_0_", id(7))), "{name}");
    assert!(name.ends_with("_1795417858_508531"), "{name}");
    assert!(spool.incoming().is_empty());
}

#[test]
fn what_was_seen_is_not_stored_again() {
    let spool = Received::new();
    assert_eq!(spool.take(&file(1)).unwrap(), Stored::New);
    assert_eq!(spool.take(&file(1)).unwrap(), Stored::Known);
    std::fs::remove_file(&tasks_in(&spool.path(""))[0]).unwrap();
    assert_eq!(spool.take(&file(1)).unwrap(), Stored::Known);
    let other = spool.again();
    assert_eq!(take(&other, &file(1), FROM).unwrap(), Stored::Known);
    assert_eq!(take(&other, &file(2), FROM).unwrap(), Stored::New);
    assert_eq!(spool.take(&file(2)).unwrap(), Stored::Known);
    assert_eq!(tasks_in(&spool.path("")).len(), 1);
}

#[test]
fn one_that_was_logged_and_not_moved_is_moved_by_who_comes_next() {
    for restarts in [true, false] {
        let spool = Received::new();
        spool.take(&file(1)).unwrap();
        let task = tasks_in(&spool.path(""))[0].clone();
        // As if the receiver had died, or the power cut had undone the move.
        let back = spool.path(".unspool/incoming").join(task.file_name().unwrap());
        std::fs::rename(&task, &back).unwrap();
        if restarts {
            spool.again();
        } else {
            assert_eq!(spool.take(&file(1)).unwrap(), Stored::Known);
        }
        assert!(task.exists() && !back.exists());
        assert_eq!(parse_ours(&task).0.id, id(1));
    }
}

#[test]
fn one_that_was_whole_and_not_logged_is_stored_and_others_are_removed() {
    let spool = Received::new();
    spool.take(&file(1)).unwrap();
    let task = tasks_in(&spool.path(""))[0].clone();
    let name = task.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&task).unwrap();
    for (content, count) in [(&whole[..], 1), (&whole[..whole.len() - 1], 0), (b"", 0)] {
        let spool = Received::new();
        let left = spool.path(".unspool/incoming").join(&name);
        std::fs::write(&left, content).unwrap();
        let other = spool.again();
        assert_eq!(tasks_in(&spool.path("")).len(), count);
        // One that is empty may have been created this moment.
        assert_eq!(spool.incoming().is_empty(), !content.is_empty());
        let again = if count == 1 { Stored::Known } else { Stored::New };
        assert_eq!(take(&other, &file(1), FROM).unwrap(), again);
        assert_eq!(tasks_in(&spool.path("")).len(), 1);
        assert!(spool.incoming().is_empty());
    }
}

#[test]
fn of_one_that_was_run_another_copy_does_not_run() {
    let spool = Received::new();
    spool.take(&file(1)).unwrap();
    let task = tasks_in(&spool.path(""))[0].clone();
    std::fs::remove_file(&task).unwrap();
    // A second connection had begun it as the first one ended, and the receiver died.
    let content = encode(&message(&[("a", "1")], b"a bo"), id(1), None).unwrap();
    for content in [&content[..content.len() - 1], b"\x11", b""] {
        std::fs::write(spool.path(".unspool/incoming").join(task.file_name().unwrap()), content)
            .unwrap();
        let other = spool.again();
        // One that is empty may have been created this moment.
        assert_eq!(spool.incoming().is_empty(), !content.is_empty());
        assert_eq!(take(&other, &file(1), FROM).unwrap(), Stored::Known);
        assert!(spool.incoming().is_empty() && tasks_in(&spool.path("")).is_empty());
    }
}

#[test]
fn who_looks_for_what_was_left_is_in_nobodys_way() {
    let spool = Received::new();
    let other = spool.again();
    let done = AtomicBool::new(false);
    let taken: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                other.settle().unwrap();
            }
        });
        let take = |number| spool.take(&file(number)).map_err(|error| chain(&error));
        let taken = (0..200).map(take).collect();
        done.store(true, Ordering::Relaxed);
        taken
    });
    assert_eq!(taken, vec![Ok(Stored::New); 200]);
    assert!(spool.incoming().is_empty());
}

#[test]
fn one_that_was_left_is_due_when_it_says() {
    let spool = Received::new();
    let sent = encode(&message(&[("at", "2000000000")], b"b"), id(1), None).unwrap();
    spool.take(&sent).unwrap();
    let task = tasks_in(&spool.path(""))[0].clone();
    let other = Received::new();
    // A copy has a time of its own.
    let left = other.path(".unspool/incoming").join(task.file_name().unwrap());
    std::fs::copy(&task, &left).unwrap();
    other.again();
    let due = tasks_in(&other.path(""))[0].metadata().unwrap().modified().unwrap();
    assert_eq!(due.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 2_000_000_000);
}

#[test]
fn one_that_does_not_come_to_its_end_leaves_nothing() {
    let spool = Received::new();
    let sent = file(1);
    let head = 4 + usize::from(u16::from_le_bytes([sent[1], sent[2]]));
    let begin = || spool.reception.begin(&sent[..head], sent.len() as u64, FROM).unwrap();
    let Begun::Incoming(mut incoming) = begin() else { panic!("it is new") };
    incoming.write(b"a bo").unwrap();
    assert_eq!(spool.incoming().len(), 1);
    // A second connection has to wait.
    let twice = spool.reception.begin(&sent[..head], sent.len() as u64, FROM);
    assert!(matches!(twice, Err(ReceiveError::Twice)));
    let short = incoming.store().unwrap_err();
    assert!(matches!(short, ReceiveError::Malformed(_)) && !short.is_for_now());
    let Begun::Incoming(mut incoming) = begin() else { panic!("it is new") };
    incoming.write(b"A body").unwrap();
    assert!(chain(&incoming.store().unwrap_err()).contains("checksum"));
    drop(begin());
    assert!(spool.incoming().is_empty() && tasks_in(&spool.path("")).is_empty());
    assert_eq!(spool.take(&sent).unwrap(), Stored::New);
}

#[test]
fn signatures_are_asked_for_where_there_are_keys() {
    let keys = || Arc::new(Keyring::parse(KEYS.as_bytes()).unwrap());
    let spool = Received::with(|spool| spool.sign_with(Some(keys())));
    assert!(matches!(spool.take(&file(1)), Err(ReceiveError::Signature(_))));
    // Before a byte of it is written.
    let bare = file(1);
    let head = 4 + usize::from(u16::from_le_bytes([bare[1], bare[2]]));
    let begun = spool.reception.begin(&bare[..head], bare.len() as u64, FROM);
    assert!(matches!(begun, Err(ReceiveError::Signature(_))));
    let signed =
        |id: TaskId| encode(&message(&[("a", "1")], b""), id, Some(keys().first())).unwrap();
    assert_eq!(spool.take(&signed(made_days_ago(6))).unwrap(), Stored::New);
    let trusted = Source { may_be_unsigned: true, origin: Origin::Peer };
    assert_eq!(take(&spool.reception, &file(1), trusted).unwrap(), Stored::New);
    for task in tasks_in(&spool.path("")) {
        let content = std::fs::read(task).unwrap();
        unspool_core::taskfile::verify(&content, &keys()).unwrap();
    }
    assert!(spool.incoming().is_empty());
}

/// An id of that time.
fn made_days_ago(days: i64) -> TaskId {
    let ms = unspool_sys::clock::now_ns() / 1_000_000 - days * 86_400_000;
    TaskId::new(ms as u64, [9; 10])
}

#[test]
fn a_signed_task_whose_id_may_be_forgotten_is_not_taken_from_anybody() {
    let keys = || Arc::new(Keyring::parse(KEYS.as_bytes()).unwrap());
    let signed =
        |days| encode(&message(&[], b""), made_days_ago(days), Some(keys().first())).unwrap();
    let spool = Received::with(|spool| spool.sign_with(Some(keys())));
    for days in [8, -8] {
        let error = spool.take(&signed(days)).unwrap_err();
        assert!(matches!(error, ReceiveError::Old { .. }) && !error.is_for_now(), "{error}");
        assert!(chain(&error).contains("network-keys"), "{error}");
    }
    // Who proves a key makes each frame anew, and without keys nobody says who made a task.
    let peer = Source { origin: Origin::Peer, ..FROM };
    let old = signed(8);
    assert_eq!(take(&spool.reception, &old, peer).unwrap(), Stored::New);
    assert_eq!(spool.take(&old).unwrap(), Stored::Known);
    assert_eq!(Received::new().take(&old).unwrap(), Stored::New);
}

#[test]
fn what_a_relay_says_of_an_unknown_sender_stays() {
    let spool = Received::new();
    let from_anybody = unspool_core::Message { origin: Origin::Network, ..message(&[], b"") };
    let file = encode(&from_anybody, id(1), None).unwrap();
    let peer = Source { origin: Origin::Peer, ..FROM };
    assert_eq!(take(&spool.reception, &file, peer).unwrap(), Stored::New);
    let (_, _, stored) = parse_ours(&tasks_in(&spool.path(""))[0]);
    assert_eq!(stored.origin, Origin::Network);
}

#[test]
fn what_is_stored_is_not_counted_twice_by_who_is_refused() {
    const MOST: u64 = 40;
    let bounds = SpoolBounds { tasks: Some(MOST), ..SpoolBounds::default() };
    for round in 0..15 {
        let spool = Received::with(|spool| spool.bounded(bounds));
        let present = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u8)
                .map(|thread| {
                    let reception = Arc::clone(&spool.reception);
                    scope.spawn(move || {
                        let mut most = 0;
                        for number in 0..20_u8 {
                            let id = TaskId::new(1_795_417_858_508, [thread * 20 + number; 10]);
                            let file = encode(&message(&[("a", "1")], b""), id, None).unwrap();
                            match take(&reception, &file, FROM) {
                                Ok(_) => {}
                                Err(ReceiveError::Full(full)) => most = full.present.max(most),
                                Err(error) => panic!("{}", chain(&error)),
                            }
                        }
                        most
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max()
        });
        assert_eq!(present, Some(MOST), "round {round}");
        assert_eq!(tasks_in(&spool.path("")).len() as u64, MOST);
    }
}

#[test]
fn a_full_spool_takes_nothing_for_now_and_counts_right() {
    let bounds = SpoolBounds { tasks: Some(2), ..SpoolBounds::default() };
    let spool = Received::with(|spool| spool.bounded(bounds));
    for number in [1, 2] {
        assert_eq!(spool.take(&file(number)).unwrap(), Stored::New);
        assert_eq!(spool.take(&file(number)).unwrap(), Stored::Known);
    }
    let full = spool.take(&file(3)).unwrap_err();
    assert!(full.is_for_now() && chain(&full).contains("is full"), "{}", chain(&full));
    assert!(spool.incoming().is_empty());
}

#[test]
fn tasks_that_come_at_once_do_not_pass_a_bound_together() {
    let bounds = SpoolBounds { tasks: Some(2), ..SpoolBounds::default() };
    let spool = Received::with(|spool| spool.bounded(bounds));
    let begin = |number: u8| {
        let sent = file(number);
        let head = 4 + usize::from(u16::from_le_bytes([sent[1], sent[2]]));
        spool.reception.begin(&sent[..head], sent.len() as u64, FROM)
    };
    let first = begin(1).unwrap();
    let _second = begin(2).unwrap();
    // Nothing is in the spool yet, as whoever is refused would see.
    for _ in 0..3 {
        let full = begin(3).unwrap_err();
        assert!(full.is_for_now() && chain(&full).contains("2 tasks are pending"), "{full:?}");
    }
    drop(first);
    assert_eq!(spool.take(&file(3)).unwrap(), Stored::New);
    assert!(begin(4).unwrap_err().is_for_now());
}

#[test]
fn bad_keys_are_refused_for_good() {
    let spool = Received::new();
    for (pair, text) in [(("priority", "../x"), "priority"), (("at", "soon"), "at")] {
        let sent = encode(&message(&[pair], b""), id(1), None).unwrap();
        let error = spool.take(&sent).unwrap_err();
        assert!(!error.is_for_now() && chain(&error).contains(text), "{}", chain(&error));
    }
    assert!(spool.incoming().is_empty());
}

#[test]
fn receivers_at_the_same_time_store_each_task_once() {
    let spool = Received::new();
    let receptions = [Arc::clone(&spool.reception), spool.again(), spool.again()];
    let stored: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..9)
            .map(|thread| {
                let reception = Arc::clone(&receptions[thread % 3]);
                scope.spawn(move || {
                    let mut new = 0;
                    for number in 0..40 {
                        // Each waits for nobody: whoever comes second is told so, or is told to come
                        // again.
                        loop {
                            match take(&reception, &file(number), FROM) {
                                Ok(Stored::New) => new += 1,
                                Ok(Stored::Known) => {}
                                Err(ReceiveError::Twice) => {
                                    std::thread::yield_now();
                                    continue;
                                }
                                Err(error) => panic!("{}", chain(&error)),
                            }
                            break;
                        }
                    }
                    new
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(stored, 40);
    assert_eq!(tasks_in(&spool.path("")).len(), 40);
    assert!(spool.incoming().is_empty());
}

/// A day's log whose end was torn, or never flushed, costs nothing but what is not there.
#[test]
fn a_torn_log_keeps_what_it_has() {
    let spool = Received::new();
    spool.take(&file(1)).unwrap();
    let log = spool.path(".unspool/seen");
    let day = names_in(&log).into_iter().find(|name| name != "lock").unwrap();
    let mut content = std::fs::read(log.join(&day)).unwrap();
    assert_eq!(content.len(), 24);
    content.extend_from_slice(&[0; 24]);
    content.extend_from_slice(&[7; 5]);
    std::fs::write(log.join(&day), &content).unwrap();
    let other = spool.again();
    assert_eq!(take(&other, &file(1), FROM).unwrap(), Stored::Known);
    assert_eq!(take(&other, &file(2), FROM).unwrap(), Stored::New);
    let third = spool.again();
    assert_eq!(take(&third, &file(2), FROM).unwrap(), Stored::Known);
}

#[test]
fn ids_of_long_ago_are_forgotten() {
    let spool = Received::new();
    spool.take(&file(1)).unwrap();
    let log = spool.path(".unspool/seen");
    let day = names_in(&log).into_iter().find(|name| name != "lock").unwrap();
    let number: i64 = day.parse().unwrap();
    std::fs::rename(log.join(&day), log.join((number - 7).to_string())).unwrap();
    std::fs::write(log.join((number - 8).to_string()), b"").unwrap();
    let other = spool.again();
    assert_eq!(take(&other, &file(1), FROM).unwrap(), Stored::Known);
    assert_eq!(names_in(&log), [(number - 7).to_string(), "lock".to_owned()]);
}
