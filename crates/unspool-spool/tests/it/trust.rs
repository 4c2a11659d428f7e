//! Whose tasks run and whose pickles are loaded, and the file of keys.

use std::path::Path;
use std::sync::Arc;

use unspool_core::Durability;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::BadSignature;
use unspool_spool::{KeysError, Refused, Trust, load_keys, submit};
use unspool_sys::Stat;
use unspool_sys::folder::look;

use crate::fixture::{FOREIGN, Fixture, chain, chmod, message};

const KEYS: &str = "a 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
const US: u32 = 1000;
const OTHER: u32 = 33;

fn keys() -> Arc<Keyring> {
    Arc::new(Keyring::parse(KEYS.as_bytes()).unwrap())
}

/// What the system says of a task's file, but for owner and mode.
fn stat(path: &Path, owner: u32, mode: u32) -> Stat {
    Stat { owner, mode, ..look(path).unwrap().unwrap() }
}

#[test]
fn what_is_submitted_with_keys_is_signed_with_the_first() {
    let fixture = Fixture::new();
    let spool = unspool_spool::SpoolDir::open(fixture.spool.path()).unwrap();
    let spool = spool.sign_with(Some(keys()));
    let trust = Trust { keys: Some(keys()), unsigned_uids: Vec::new(), ..Trust::default() };
    for level in [Durability::None, Durability::File] {
        let path = submit(&spool, &message(&[("a", "1")], b""), level).unwrap();
        let standing = trust.admit(&std::fs::read(&path).unwrap(), &stat(&path, OTHER, 0o666));
        // Who has the key is trusted, whoever wrote the file down.
        assert_eq!(trust.refuse_pickles(standing.unwrap(), US), None);
    }
}

#[test]
fn without_keys_everything_runs_and_pickles_are_the_owners() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    let trust = Trust::default();
    for (owner, mode, refused) in [
        (US, 0o600, None),
        (US, 0o644, None),
        (0, 0o600, None),
        (OTHER, 0o600, Some("belongs to uid 33")),
        (US, 0o660, Some("can be written by others than its owner (mode 0660)")),
        (US, 0o602, Some("mode 0602")),
        (0, 0o620, Some("mode 0620")),
    ] {
        let standing = trust.admit(FOREIGN, &stat(&path, owner, mode)).unwrap();
        let why = trust.refuse_pickles(standing, US);
        assert_eq!(why.is_some(), refused.is_some(), "{owner} {mode:o}");
        assert!(why.is_none_or(|why| why.contains(refused.unwrap_or_default())));
    }
    let listed = Trust { keys: None, unsigned_uids: vec![OTHER], ..Trust::default() };
    for (mode, loaded) in [(0o600, true), (0o660, false)] {
        let standing = listed.admit(FOREIGN, &stat(&path, OTHER, mode)).unwrap();
        assert_eq!(listed.refuse_pickles(standing, US).is_none(), loaded, "{mode:o}");
    }
}

#[test]
fn with_keys_only_signed_files_and_those_of_listed_users_run() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    let file = std::fs::read(&path).unwrap();
    let trust = Trust { keys: Some(keys()), unsigned_uids: vec![OTHER], ..Trust::default() };
    for (owner, mode, runs) in [
        (OTHER, 0o600, true),
        (OTHER, 0o660, false),
        (OTHER, 0o606, false),
        (US, 0o600, false),
        (0, 0o600, false),
    ] {
        for file in [&file[..], FOREIGN] {
            match trust.admit(file, &stat(&path, owner, mode)) {
                Ok(standing) => {
                    assert!(runs);
                    assert_eq!(trust.refuse_pickles(standing, US), None);
                }
                Err(error) => {
                    assert!(!runs);
                    assert_eq!(error, Refused::Signature(BadSignature::Missing, owner));
                }
            }
        }
    }
    let mut damaged = file;
    damaged[15] = b'U';
    assert_eq!(trust.admit(&damaged, &stat(&path, OTHER, 0o600)), Err(Refused::Damaged));
}

/// A wrong signature is worse than none: it is no matter of habit.
#[test]
fn a_listed_user_cannot_get_by_with_a_wrong_signature() {
    let fixture = Fixture::new();
    let spool = unspool_spool::SpoolDir::open(fixture.spool.path()).unwrap();
    let path =
        submit(&spool.sign_with(Some(keys())), &message(&[("a", "1")], b"x"), Durability::None);
    let path = path.unwrap();
    let mut file = std::fs::read(&path).unwrap();
    *file.last_mut().unwrap() ^= 1;
    let trust = Trust { keys: Some(keys()), unsigned_uids: vec![OTHER], ..Trust::default() };
    let refused = trust.admit(&file, &stat(&path, OTHER, 0o600)).unwrap_err();
    let expected = Refused::Signature(BadSignature::Wrong { key: "a".into() }, OTHER);
    assert_eq!(refused, expected);
    assert!(refused.to_string().contains("key `a`"), "{refused}");
}

#[test]
fn a_file_of_keys_is_for_its_owner_and_perhaps_a_group() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("keys");
    std::fs::write(&path, KEYS).unwrap();
    for mode in [0o400, 0o600, 0o640, 0o440, 0o700] {
        chmod(&path, mode);
        assert_eq!(load_keys(&path).unwrap().first().name(), b"a", "{mode:o}");
    }
    for mode in [0o644, 0o604, 0o602, 0o660, 0o620, 0o601] {
        chmod(&path, mode);
        let text = chain(&load_keys(&path).unwrap_err());
        let expected = format!("mode {mode:04o}, with which others can read or change the keys");
        assert!(text.contains(&expected) && text.contains("chmod 600"), "{text}");
    }
}

#[test]
fn what_is_no_file_of_keys_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("keys");
    let text = || chain(&load_keys(&path).unwrap_err());
    assert!(text().contains("cannot read") && text().contains("No such file"), "{}", text());
    std::fs::create_dir(&path).unwrap();
    assert!(text().contains("no regular file"), "{}", text());
    std::fs::remove_dir(&path).unwrap();
    crate::os::make_fifo(&path);
    assert!(text().contains("no regular file"), "{}", text());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b'#'; 70_000]).unwrap();
    chmod(&path, 0o600);
    assert!(matches!(load_keys(&path), Err(KeysError::TooLarge { .. })));
    std::fs::write(&path, "a secret\n").unwrap();
    assert!(text().contains("is no file of keys: line 1: "), "{}", text());
    assert!(!text().contains("secret"), "{}", text());
}
