//! Files that are no tasks: moved, never overwritten, never lost.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use unspool_spool::{QuarantineError, quarantine};
use unspool_sys::{Folder, lock};

use crate::fixture::{Fixture, chain, mode_of, names_in};

const NAME: &str = "uwsgi_spoolfile_on_bad";

/// Quarantines a file as it is now.
fn move_away(
    fixture: &Fixture,
    folder: &Folder,
    name: &str,
) -> Result<Option<PathBuf>, QuarantineError> {
    let seen = folder.stat(name.as_bytes()).unwrap().unwrap();
    quarantine(&fixture.spool, folder, name.as_bytes(), &seen)
}

#[test]
fn a_damaged_file_moves_with_its_content() {
    let fixture = Fixture::undisturbed();
    fixture.write(NAME, b"\x11\xff");
    let path = move_away(&fixture, fixture.spool.top(), NAME).unwrap().unwrap();
    assert_eq!(path, fixture.path("corrupt").join(NAME));
    assert_eq!(std::fs::read(&path).unwrap(), b"\x11\xff");
    assert_eq!(mode_of(&fixture.path("corrupt")), 0o700);
    assert_eq!(fixture.tasks().len(), 0);
}

#[test]
fn an_earlier_file_of_that_name_is_not_overwritten() {
    let fixture = Fixture::undisturbed();
    fixture.submit(&[("priority", "5")]);
    let five = fixture.folder("5");
    for number in 1..=3 {
        let (folder, place) = match number {
            2 => (&five, format!("5/{NAME}")),
            _ => (fixture.spool.top(), NAME.to_owned()),
        };
        fixture.write(&place, &[number]);
        move_away(&fixture, folder, NAME).unwrap().unwrap();
    }
    let corrupt = fixture.path("corrupt");
    let expected = [NAME.to_owned(), format!("{NAME}.2"), format!("{NAME}.3")];
    assert_eq!(names_in(&corrupt), expected);
    for (name, number) in expected.iter().zip(1..) {
        assert_eq!(std::fs::read(corrupt.join(name)).unwrap(), [number]);
    }
}

#[test]
fn a_file_that_changed_since_it_was_looked_at_stays() {
    let fixture = Fixture::undisturbed();
    let path = fixture.write(NAME, b"half");
    let top = fixture.spool.top();
    let seen = top.stat(NAME.as_bytes()).unwrap().unwrap();

    // Its writer goes on.
    std::fs::write(&path, b"half and half").unwrap();
    assert_eq!(quarantine(&fixture.spool, top, NAME.as_bytes(), &seen).unwrap(), None);

    // Somebody puts a good file in its place.
    let seen = top.stat(NAME.as_bytes()).unwrap().unwrap();
    let good = fixture.submit(&[("a", "1")]);
    std::fs::rename(good, &path).unwrap();
    assert_eq!(quarantine(&fixture.spool, top, NAME.as_bytes(), &seen).unwrap(), None);
    assert_eq!(fixture.tasks(), std::slice::from_ref(&path));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(quarantine(&fixture.spool, top, NAME.as_bytes(), &seen).unwrap(), None);
    assert!(!fixture.path("corrupt").exists());
}

#[test]
fn a_file_that_somebody_holds_stays() {
    let fixture = Fixture::undisturbed();
    let path = fixture.write(NAME, b"half");
    let writer = std::fs::File::options().write(true).open(&path).unwrap();
    assert!(lock::try_lock(writer.as_fd()).unwrap());
    assert_eq!(move_away(&fixture, fixture.spool.top(), NAME).unwrap(), None);
    assert!(path.exists());
    drop(writer);
    assert!(move_away(&fixture, fixture.spool.top(), NAME).unwrap().is_some());
}

#[test]
fn where_it_cannot_be_moved_it_stays_and_the_error_says_so() {
    let outside = tempfile::tempdir().unwrap();
    for link in [false, true] {
        let fixture = Fixture::undisturbed();
        let corrupt = fixture.path("corrupt");
        if link {
            symlink(outside.path(), &corrupt).unwrap();
        } else {
            std::fs::write(&corrupt, b"a file").unwrap();
        }
        let path = fixture.write(NAME, b"half");
        let error = move_away(&fixture, fixture.spool.top(), NAME).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(NAME) && text.contains("stays where it is"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        assert_eq!(names_in(outside.path()), [""; 0]);
    }
}

#[test]
fn a_file_that_its_writer_has_open_stays_however_old() {
    let fixture = Fixture::undisturbed();
    let path = fixture.write(NAME, b"half");
    // Without a lock, as a submitter that was stopped in the middle.
    let writer = std::fs::File::options().append(true).open(&path).unwrap();
    assert_eq!(move_away(&fixture, fixture.spool.top(), NAME).unwrap(), None);
    assert!(path.exists());
    drop(writer);
    assert!(move_away(&fixture, fixture.spool.top(), NAME).unwrap().is_some());
}
