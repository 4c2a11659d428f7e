//! Reading tasks without running them.

use std::path::Path;

use unspool_core::Durability;
use unspool_spool::{ReadError, delete_garbage, list_jobs, read_task, submit};

use crate::fixture::{FOREIGN, Fixture, chain, chmod, message, name_of};
use crate::os;

#[test]
fn a_task_is_read_without_our_own_pair() {
    let fixture = Fixture::new();
    let given = message(&[("ud_spool_func", "f"), ("a", "1"), ("priority", "5")], b"body");
    let path = submit(&fixture.spool, &given, Durability::None).unwrap();
    assert_eq!(read_task(&path).unwrap(), Some(given));
    let path = fixture.write("uwsgi_spoolfile_on_foreign", FOREIGN);
    assert_eq!(read_task(&path).unwrap().unwrap().body, b"BODY\0bytes");
}

#[test]
fn what_is_not_there_is_no_error() {
    let fixture = Fixture::new();
    for path in ["uwsgi_spoolfile_on_x", "no/such/folder/uwsgi_spoolfile_on_x"] {
        assert_eq!(read_task(&fixture.path(path)).unwrap(), None, "{path}");
    }
    assert_eq!(read_task(Path::new("/")).unwrap(), None);
}

#[test]
fn what_is_no_task_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    let whole = std::fs::read(fixture.submit(&[("a", "1")])).unwrap();
    let cut = fixture.write("uwsgi_spoolfile_on_cut", &whole[..whole.len() - 1]);
    let error = read_task(&cut).unwrap_err();
    assert!(matches!(error, ReadError::Malformed { .. }));
    let text = chain(&error);
    assert!(text.contains(cut.to_str().unwrap()) && text.contains("bytes"), "{text}");
    assert!(matches!(read_task(fixture.spool.path()), Err(ReadError::Io { .. })));
}

#[test]
fn who_may_only_read_may_read() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    chmod(fixture.root(), 0o755);
    chmod(fixture.spool.path(), 0o755);
    chmod(&path, 0o444);
    let read = os::as_ordinary_user(|| read_task(&path).unwrap().unwrap());
    assert_eq!(read.get(b"a"), Some(&b"1"[..]));
}

#[test]
fn jobs_are_the_tasks_without_a_priority_up_to_a_bound() {
    let fixture = Fixture::new();
    let mut expected: Vec<_> = (0..5).map(|_| fixture.submit(&[("a", "1")])).collect();
    fixture.submit(&[("priority", "5")]);
    fixture.write("notes.txt", b"");
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    expected.sort();
    let mut listed = list_jobs(&fixture.spool, 100).unwrap();
    listed.sort();
    assert_eq!(listed, expected);
    assert_eq!(list_jobs(&fixture.spool, 3).unwrap().len(), 3);
}

#[test]
fn only_what_a_submitter_left_is_garbage() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    fixture.write(".uwsgi_spoolfile_on_x", b"half");
    fixture.write("notes.txt", b"");
    let top = fixture.spool.top();
    for name in [name_of(&path), b"notes.txt", b".unspool"] {
        assert!(!delete_garbage(top, name).unwrap());
    }
    assert!(delete_garbage(top, b".uwsgi_spoolfile_on_x").unwrap());
    assert!(!delete_garbage(top, b".uwsgi_spoolfile_on_x").unwrap());
    assert_eq!(fixture.aside(), [""; 0]);
    assert_eq!(fixture.tasks(), [path]);
    assert!(fixture.path("notes.txt").exists());
}
