//! What people do to tasks without a daemon: try again, move, edit, discard.

use std::path::Path;

use unspool_core::signing::Keyring;
use unspool_core::taskfile::verify;
use unspool_core::{Durability, Message, Priority};
use unspool_spool::{
    Attempt, Claimed, Edit, EditError, Editing, Ending, Kept, Place, Relocated, Relocation,
    Removal, Retried, SpoolDir, Whereabouts, bury_claimed, claim, count_deaths, discard,
    discard_records, note_attempt, read_attempts, relocate, retry, submit,
};
use unspool_sys::clock;

use crate::fixture::{FOREIGN, Fixture, message, name_of, names_in, parse_ours};

fn priority(name: &str) -> Priority {
    Priority::new(name.as_bytes()).unwrap()
}

fn pending(folder: Option<&str>, path: &Path) -> Whereabouts {
    let place = Place { priority: folder.map(priority), name: name_of(path).to_vec() };
    Whereabouts::Pending(place)
}

fn dead(path: &Path) -> Whereabouts {
    Whereabouts::Kept(Kept::Dead, name_of(path).to_vec())
}

/// Gives a task up that died in this folder.
fn give_up(fixture: &Fixture, folder: Option<&str>, path: &Path) {
    let (spool, name) = (&fixture.spool, name_of(path));
    let sub = folder.map(|folder| fixture.folder(folder));
    let from = sub.as_ref().unwrap_or(spool.top());
    let Claimed::Task(claimed) = claim(from, name, i64::MAX).unwrap() else { panic!() };
    let attempt = Attempt::ended(Ending::Died, 1, clock::now_ns(), "it died");
    let priority = folder.map(priority);
    note_attempt(spool, name, &attempt.of_priority(priority.as_ref())).unwrap();
    bury_claimed(spool, from, name, &claimed.file).unwrap().unwrap();
}

#[test]
fn a_retry_goes_back_to_the_folder_it_came_from() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("priority", "5")]);
    // Somebody had moved it.
    let place = Place { priority: Some(priority("5")), name: name_of(&path).to_vec() };
    let to = Relocation { priority: Some(Some(priority("7"))), due_ns: None };
    relocate(&fixture.spool, &place, &to).unwrap();
    give_up(&fixture, Some("7"), &path);
    let before_ns = clock::now_ns();
    let Retried::Pending { place, incomplete: None } = retry(&fixture.spool, &dead(&path)).unwrap()
    else {
        panic!()
    };
    assert_eq!(place.priority, Some(priority("7")));
    let stat = fixture.folder("7").stat(name_of(&path)).unwrap().unwrap();
    assert!(stat.mtime_ns >= before_ns - 1_000_000_000 && stat.mtime_ns <= clock::now_ns());
    assert!(names_in(&fixture.path("dead")).is_empty());
    let attempts = read_attempts(fixture.spool.view(), name_of(&path)).unwrap();
    let endings: Vec<Ending> = attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(endings, [Ending::Died, Ending::Retried]);
    // The death before does not count against it any more.
    assert_eq!(count_deaths(&fixture.spool, name_of(&path)).unwrap(), 0);
}

#[test]
fn without_a_record_its_own_pair_says_the_priority() {
    let fixture = Fixture::undisturbed();
    std::fs::create_dir(fixture.path("dead")).unwrap();
    let path = fixture.write("dead/uwsgi_spoolfile_on_foreign", FOREIGN);
    let retried = retry(&fixture.spool, &dead(&path)).unwrap();
    assert!(
        matches!(retried, Retried::Pending { place, .. } if place.priority == Some(priority("5")))
    );
    assert!(fixture.path("5/uwsgi_spoolfile_on_foreign").exists());
}

#[test]
fn a_retry_replaces_no_task_and_takes_none_that_runs() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("at", "2000000000")]);
    let task = pending(None, &path);
    let Claimed::Task(held) = claim(fixture.spool.top(), name_of(&path), i64::MAX).unwrap() else {
        panic!()
    };
    assert!(matches!(retry(&fixture.spool, &task).unwrap(), Retried::Held(_)));
    drop(held);
    assert!(matches!(retry(&fixture.spool, &task).unwrap(), Retried::Hurried));
    assert!(matches!(retry(&fixture.spool, &task).unwrap(), Retried::Due));
    let content = std::fs::read(&path).unwrap();
    give_up(&fixture, None, &path);
    std::fs::write(&path, content).unwrap();
    let retried = retry(&fixture.spool, &dead(&path)).unwrap();
    assert!(matches!(retried, Retried::Taken(place) if place.priority.is_none()));
    // Its record lies beside it, as before.
    let name = String::from_utf8_lossy(name_of(&path)).into_owned();
    assert_eq!(names_in(&fixture.path("dead")), [format!("attempts.{name}"), name]);
    let nobody = Whereabouts::Kept(Kept::Dead, b"uwsgi_spoolfile_on_nobody".to_vec());
    assert!(matches!(retry(&fixture.spool, &nobody).unwrap(), Retried::Gone));
}

#[test]
fn a_move_changes_no_byte() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f")]);
    let content = std::fs::read(&path).unwrap();
    let place = Place { priority: None, name: name_of(&path).to_vec() };
    let to = Relocation { priority: Some(Some(priority("3"))), due_ns: Some(5_000_000_007) };
    let Relocated::Done(new) = relocate(&fixture.spool, &place, &to).unwrap() else { panic!() };
    let stat = fixture.folder("3").stat(name_of(&path)).unwrap().unwrap();
    assert_eq!(stat.mtime_ns, 5_000_000_007);
    assert_eq!(std::fs::read(new.path(fixture.spool.view())).unwrap(), content);
    assert_eq!(relocate(&fixture.spool, &place, &to).unwrap(), Relocated::Gone);
    std::fs::write(&path, b"x").unwrap();
    let back = Relocation { priority: Some(None), due_ns: None };
    let taken = relocate(&fixture.spool, &new, &back).unwrap();
    assert!(matches!(taken, Relocated::Taken(_)), "{taken:?}");
}

/// Adds an argument.
fn edit(
    spool: &SpoolDir,
    task: &Whereabouts,
    value: &[u8],
    keys: Option<&Keyring>,
) -> Result<(), EditError> {
    let Editing::Task(edit) = Edit::begin(spool, task).unwrap() else { panic!() };
    let mut message = edit.message().unwrap();
    message.pairs.push((b"more".to_vec(), value.to_vec()));
    edit.commit(&message, None, keys)
}

#[test]
fn an_edit_keeps_id_time_and_count() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("at", "2000000000")]);
    let (mark, _, _) = parse_ours(&path);
    let mut content = std::fs::read(&path).unwrap();
    content[3] = 4;
    std::fs::write(&path, content).unwrap();
    let at = Relocation { priority: None, due_ns: Some(1_900_000_000_000_000_000) };
    let place = Place { priority: None, name: name_of(&path).to_vec() };
    relocate(&fixture.spool, &place, &at).unwrap();
    // What an edit left that was killed.
    let name = String::from_utf8_lossy(name_of(&path)).into_owned();
    fixture.write(&format!(".{name}"), b"half");
    edit(&fixture.spool, &pending(None, &path), &vec![b'v'; 70_000], None).unwrap();
    let (edited, attempts, message) = parse_ours(&path);
    assert_eq!((edited.id, attempts), (mark.id, 4));
    assert_eq!(message.get(b"more").map(<[u8]>::len), Some(70_000));
    let stat = fixture.spool.top().stat(name_of(&path)).unwrap().unwrap();
    assert_eq!(stat.mtime_ns, 1_900_000_000_000_000_000);
    assert!(fixture.aside().is_empty());
}

#[test]
fn a_foreign_file_stays_one() {
    let fixture = Fixture::undisturbed();
    let path = fixture.write("uwsgi_spoolfile_on_foreign", FOREIGN);
    edit(&fixture.spool, &pending(None, &path), b"2", None).unwrap();
    let mut expected = FOREIGN.to_vec();
    let body = expected.split_off(expected.len() - 10);
    expected.extend_from_slice(b"\x04\x00more\x01\x002");
    expected[1] += 9;
    expected.extend_from_slice(&body);
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    let long = edit(&fixture.spool, &pending(None, &path), &vec![b'v'; 70_000], None).unwrap_err();
    assert!(matches!(long, EditError::Message(_)), "{long}");
    assert_eq!(std::fs::read(&path).unwrap(), expected);
}

#[test]
fn what_was_signed_is_signed_anew_and_nothing_else() {
    let fixture = Fixture::undisturbed();
    let secret = "0123456789abcdef".repeat(4);
    let keys = Keyring::parse(format!("mine {secret}\n").as_bytes()).unwrap();
    let others = Keyring::parse(format!("mine {}\n", secret.replace('0', "1")).as_bytes()).unwrap();
    let plain = fixture.submit(&[("ud_spool_func", "f")]);
    let signing = SpoolDir::open(fixture.spool.path()).unwrap();
    let signing = signing
        .sign_with(Some(Keyring::parse(format!("mine {secret}\n").as_bytes()).unwrap().into()));
    let message: Message = message(&[("ud_spool_func", "f")], b"");
    let signed = submit(&signing, &message, Durability::None).unwrap();
    let task = pending(None, &signed);
    let before = std::fs::read(&signed).unwrap();
    let error = edit(&fixture.spool, &task, b"1", None).unwrap_err();
    assert!(matches!(&error, EditError::NoKey { key } if key == "mine"), "{error}");
    let error = edit(&fixture.spool, &task, b"1", Some(&others)).unwrap_err();
    assert!(matches!(error, EditError::Signature(_)), "{error}");
    assert_eq!(std::fs::read(&signed).unwrap(), before);
    edit(&fixture.spool, &task, b"1", Some(&keys)).unwrap();
    verify(&std::fs::read(&signed).unwrap(), &keys).unwrap();
    edit(&fixture.spool, &pending(None, &plain), b"1", Some(&keys)).unwrap();
    verify(&std::fs::read(&plain).unwrap(), &keys).unwrap_err();
}

#[test]
fn a_discarded_task_takes_its_record_along() {
    let fixture = Fixture::undisturbed();
    let (one, two) = (fixture.submit(&[("a", "1")]), fixture.submit(&[("a", "2")]));
    for path in [&one, &two] {
        give_up(&fixture, None, path);
    }
    assert_eq!(discard(&fixture.spool, Kept::Dead, name_of(&one)).unwrap(), Removal::Removed);
    assert_eq!(discard(&fixture.spool, Kept::Dead, name_of(&one)).unwrap(), Removal::Gone);
    assert_eq!(names_in(&fixture.path("dead")).len(), 2);
    // One that was moved back by hand needs its record, one that was deleted by hand does not.
    std::fs::rename(fixture.path("dead").join(two.file_name().unwrap()), &two).unwrap();
    assert_eq!(discard_records(&fixture.spool).unwrap(), 0);
    std::fs::remove_file(&two).unwrap();
    assert_eq!(discard_records(&fixture.spool).unwrap(), 1);
    assert!(names_in(&fixture.path("dead")).is_empty());
}
