//! Opening a spool: what is made, what is refused and in which words.

use std::os::unix::fs::symlink;

use unspool_core::Durability;
use unspool_spool::{OpenError, SpoolDir, submit};
use unspool_sys::host;

use crate::fixture::{chain, chmod, message, mode_of, names_in};
use crate::os;

#[test]
fn a_missing_directory_is_made_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/spool");
    let spool = SpoolDir::open(&path).unwrap();
    for made in ["a", "a/b", "a/b/spool", "a/b/spool/.unspool"] {
        assert_eq!(mode_of(&root.path().join(made)), 0o700, "{made}");
    }
    assert_eq!(spool.path(), path.canonicalize().unwrap());
    assert_eq!(spool.open_to_others(), None);
    assert_eq!(std::fs::read(path.join(".unspool/version")).unwrap(), b"1\n");
}

#[test]
fn an_existing_directory_is_used_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("uwsgi_spoolfile_on_x"), b"\x11\0\0\0").unwrap();
    for (mode, open) in [(0o755, Some(0o755)), (0o750, Some(0o750)), (0o700, None)] {
        chmod(&path, mode);
        assert_eq!(SpoolDir::open(&path).unwrap().open_to_others(), open);
        assert_eq!(mode_of(&path), mode);
    }
    assert_eq!(names_in(&path), [".unspool", "uwsgi_spoolfile_on_x"]);
}

#[test]
fn many_may_open_a_missing_directory_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/spool");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let spool = SpoolDir::open(&path).unwrap();
                submit(&spool, &message(&[("a", "1")], b""), Durability::None).unwrap();
            });
        }
    });
    assert_eq!(names_in(&path).len(), 17);
}

#[test]
fn a_file_in_its_place_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    std::fs::write(&path, b"precious").unwrap();
    let error = SpoolDir::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));

    let error = SpoolDir::open(&path.join("below")).unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error}");
    assert!(chain(&error).contains("below"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_directory_that_is_not_writable_is_named_with_a_cure() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    std::fs::create_dir(&path).unwrap();
    chmod(root.path(), 0o755);
    chmod(&path, 0o555);
    let (error, uid) = os::as_ordinary_user(|| (SpoolDir::open(&path).unwrap_err(), host::uid()));
    let text = error.to_string();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{text}");
    let path = path.to_str().unwrap();
    assert!(text.contains(path) && text.contains(&format!("chown {uid} {path}")), "{text}");
    assert_eq!(names_in(path.as_ref()), [""; 0]);
}

#[test]
fn a_read_only_file_system_is_not_blamed_on_the_mode() {
    let root = tempfile::tempdir().unwrap();
    let ran = os::with_read_only_disk(root.path(), || {
        let text = chain(&SpoolDir::open(root.path()).unwrap_err());
        assert!(text.contains(root.path().to_str().unwrap()), "{text}");
        assert!(text.contains("Read-only file system") && !text.contains("chown"), "{text}");
    });
    if ran.is_none() {
        os::not_run("only root may mount a disk");
    }
}

#[test]
fn what_a_newer_version_made_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    drop(SpoolDir::open(&path).unwrap());
    let version = path.join(".unspool/version");
    for text in ["x", "1x"] {
        std::fs::write(&version, text).unwrap();
        let error = SpoolDir::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::BadVersion { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("version` says `") && told.contains("fsck --repair"), "{told}");
    }
    for (text, newer) in [("2\n", true), ("17", true), ("1", false), ("", false), ("2x", true)] {
        std::fs::write(&version, text).unwrap();
        match SpoolDir::open(&path) {
            Ok(_) => assert!(!newer, "{text:?}"),
            Err(OpenError::Newer { path: named, found }) => {
                assert!(newer, "{text:?}");
                assert_eq!((named, found.as_str()), (path.canonicalize().unwrap(), text.trim()));
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(std::fs::read_to_string(&version).unwrap(), text);
    }
}

#[test]
fn internals_that_are_links_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let (path, outside) = (root.path().join("spool"), root.path().join("outside"));
    std::fs::create_dir(&path).unwrap();
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, path.join(".unspool")).unwrap();
    assert!(matches!(SpoolDir::open(&path), Err(OpenError::Open { .. })));
    assert_eq!(names_in(&outside), [""; 0]);
}
