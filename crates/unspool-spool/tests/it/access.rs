//! Spools that a group shares, and those that are refused because others can write.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use unspool_core::{Durability, Priority};
use unspool_spool::{Access, OpenError, SpoolDir, claim, quarantine, shared_store, submit};
use unspool_sys::clock;
use unspool_sys::folder::Sharing;

use crate::fixture::{chain, chmod, message, mode_of, name_of, names_in};
use crate::os;

/// Two users and the group that both are in.
const WEB: u32 = 12_345;
const WORKER: u32 = 12_346;
const GROUP: u32 = 23_456;

fn shared(group: u32) -> Access {
    Access { sharing: Some(Sharing::GroupWrites), group: Some(group), strict: false }
}

fn strict() -> Access {
    Access { strict: true, ..Access::default() }
}

/// Modes and groups of everything beneath a directory.
fn below(directory: &Path, found: &mut Vec<(String, u32, u32)>) {
    for name in names_in(directory) {
        let path = directory.join(&name);
        let meta = path.symlink_metadata().unwrap();
        found.push((name, meta.mode() & 0o7777, meta.gid()));
        if meta.is_dir() {
            below(&path, found);
        }
    }
}

#[test]
fn whatever_is_made_in_a_shared_spool_is_the_groups_too() {
    if !os::is_root() {
        eprintln!("not run: only root can be two users");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    chmod(root.path(), 0o711);
    let path = root.path().join("made/spool");
    SpoolDir::open_with(&path, &shared(GROUP)).unwrap();
    // The mask that most machines have would take the group's right to write.
    let (plain, urgent) = os::as_user(WEB, GROUP, 0o022, || {
        // A producer that knows the path and nothing else.
        let spool = SpoolDir::open(&path).unwrap();
        let given = |priority| message(&[("ud_spool_func", "f"), ("priority", priority)], b"");
        let plain = submit(&spool, &given(""), Durability::None).unwrap();
        let urgent = submit(&spool, &given("5"), Durability::Group).unwrap();
        shared_store(&spool, unspool_spool::Lifetime::Kept).unwrap();
        (plain, urgent)
    });
    os::as_user(WORKER, GROUP, 0o077, || {
        let spool = SpoolDir::open_with(&path, &shared(GROUP)).unwrap();
        assert_eq!(spool.open_to_others(), None);
        spool.make_daemon_folder(b"me").unwrap();
        let five = Priority::new(b"5").unwrap();
        let folder = spool.priority_folder(&five).unwrap().unwrap();
        for (folder, task) in [(&folder, &urgent), (spool.top(), &plain)] {
            let claimed = claim(folder, name_of(task), clock::now_ns()).unwrap();
            assert!(matches!(claimed, unspool_spool::Claimed::Task(_)), "{claimed:?}");
        }
        let seen = spool.top().stat(name_of(&plain)).unwrap().unwrap();
        assert!(quarantine(&spool, spool.top(), name_of(&plain), &seen).unwrap().is_some());
        assert!(unspool_spool::complete(&folder, name_of(&urgent)).unwrap());
        submit(&spool, &message(&[("a", "1")], b""), Durability::None).unwrap();
    });
    let mut found = Vec::new();
    below(root.path(), &mut found);
    let meta = |name: &str| found.iter().find(|(found, ..)| found == name);
    for name in ["made", "spool", ".unspool", "5", "corrupt", "daemons", "me", "shared"] {
        assert_eq!(meta(name), Some(&(name.to_owned(), 0o2770, GROUP)));
    }
    let files: Vec<_> = found.iter().filter(|(_, mode, _)| mode & 0o2000 == 0).collect();
    assert_eq!(files.len(), 4, "version, store and two tasks: {files:?}");
    for (name, mode, group) in files {
        assert_eq!((*mode, *group), (0o660, GROUP), "{name}");
    }
}

/// Its time is its owner's to set; its count is not.
#[test]
fn a_failure_of_another_users_task_is_counted_without_its_delay() {
    if !os::is_root() {
        eprintln!("not run: only root can be two users");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    chmod(root.path(), 0o711);
    let path = root.path().join("spool");
    SpoolDir::open_with(&path, &shared(GROUP)).unwrap();
    let task = os::as_user(WEB, GROUP, 0o022, || {
        let spool = SpoolDir::open(&path).unwrap();
        submit(&spool, &message(&[("a", "1")], b""), Durability::None).unwrap()
    });
    os::as_user(WORKER, GROUP, 0o022, || {
        let file = std::fs::File::options().read(true).write(true).open(&task).unwrap();
        let noted = unspool_spool::count_failure(file.as_fd(), 3, 2_000_000_000_000_000_000);
        assert_eq!(noted.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    });
    assert_eq!(std::fs::read(&task).unwrap()[3], 4);
}

#[test]
fn a_group_may_be_let_read_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let access = Access { sharing: Some(Sharing::GroupReads), ..Access::default() };
    let spool = SpoolDir::open_with(&path, &access).unwrap();
    let task = submit(&spool, &message(&[("priority", "5")], b""), Durability::None).unwrap();
    assert_eq!([mode_of(&path), mode_of(&path.join("5"))], [0o2750; 2]);
    assert_eq!(mode_of(&task), 0o640);
    // Such a mode may come from the directory above: who was not told keeps tasks to the owner.
    let untold = SpoolDir::open(&path).unwrap();
    let task = submit(&untold, &message(&[("priority", "6")], b""), Durability::None).unwrap();
    assert_eq!((mode_of(&path.join("6")) & 0o777, mode_of(&task)), (0o700, 0o600));
}

#[test]
fn a_spool_that_is_not_shared_as_it_should_be_is_refused_with_the_commands() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    drop(SpoolDir::open(&path).unwrap());
    let group = path.metadata().unwrap().gid();
    let error = SpoolDir::open_with(&path, &shared(group)).unwrap_err();
    let text = chain(&error);
    let shown = path.canonicalize().unwrap().display().to_string();
    for part in [
        format!("mode 0700 and group {group}, not 2770 and group {group}"),
        format!("chgrp -R {group} {shown}; chmod -R g+rwX,o= {shown}; find {shown} -type d"),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    chmod(&path, 0o2770);
    SpoolDir::open_with(&path, &shared(group)).unwrap();
    let error = SpoolDir::open_with(&path, &shared(group + 1)).unwrap_err();
    assert!(matches!(error, OpenError::NotShared { .. }), "{error}");
    // Without options the directory itself says it.
    let spool = SpoolDir::open(&path).unwrap();
    assert_eq!(spool.top().sharing(), Sharing::GroupWrites);
    assert_eq!(spool.open_to_others(), Some(0o2770));
}

#[test]
fn a_group_that_one_is_not_in_is_named() {
    let root = tempfile::tempdir().unwrap();
    chmod(root.path(), 0o777);
    let path = root.path().join("spool");
    let text =
        os::as_ordinary_user(|| chain(&SpoolDir::open_with(&path, &shared(GROUP)).unwrap_err()));
    assert!(text.contains("group 23456, in which uid"), "{text}");
    assert!(names_in(root.path()).is_empty());
    if os::is_root() {
        // Made for it by root, as the daemon does before it becomes another user.
        SpoolDir::open_with(&path, &shared(GROUP)).unwrap();
        chown(&path, Some(WORKER), None).unwrap();
        let open = || SpoolDir::open(&path).map(drop).map_err(|error| chain(&error));
        let text = os::as_user(WORKER, 1, 0o022, open).unwrap_err();
        assert!(text.contains("group 23456, in which uid 12346 is not"), "{text}");
    }
}

#[test]
fn a_folder_that_does_not_hand_on_its_group_is_not_shared() {
    for (mode, sharing) in [
        (0o700, Sharing::Private),
        (0o750, Sharing::Private),
        (0o777, Sharing::Private),
        (0o770, Sharing::Private),
        (0o2700, Sharing::Private),
        (0o2750, Sharing::GroupReads),
        (0o2770, Sharing::GroupWrites),
    ] {
        assert_eq!(Sharing::of_folder(mode), sharing, "{mode:o}");
    }
}

#[test]
fn strict_refuses_folders_that_others_can_write() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let spool = SpoolDir::open_with(&path, &strict()).unwrap();
    for name in ["5", "corrupt", ".hidden"] {
        std::fs::create_dir(path.join(name)).unwrap();
        chmod(&path.join(name), 0o755);
    }
    strict().check_folders(&spool).unwrap();
    for (name, mode, cure) in [
        ("", 0o777, "chmod o-w"),
        ("", 0o2770, "chmod go-w"),
        (".unspool", 0o722, "chmod o-w"),
        ("5", 0o777, "chmod o-w"),
        ("5", 0o770, "chmod go-w"),
        ("corrupt", 0o702, "chmod o-w"),
    ] {
        let path = path.join(name);
        let before = mode_of(&path);
        chmod(&path, mode);
        let opened = SpoolDir::open_with(spool.path(), &strict());
        let error = opened.and_then(|spool| strict().check_folders(&spool)).unwrap_err();
        let text = chain(&error);
        let cure = format!("run `{cure} {}", spool.path().join(name).display());
        assert!(text.contains(cure.trim_end_matches('/')), "{text}");
        // As ever without the option.
        SpoolDir::open(spool.path()).unwrap();
        chmod(&path, before);
    }
    chmod(&path.join(".hidden"), 0o777);
    strict().check_folders(&spool).unwrap();
}

#[test]
fn strict_lets_the_group_write_that_shares_the_spool() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let access = Access { sharing: Some(Sharing::GroupWrites), group: None, strict: true };
    let spool = SpoolDir::open_with(&path, &access).unwrap();
    access.check_folders(&spool).unwrap();
    std::fs::create_dir(path.join("5")).unwrap();
    chmod(&path.join("5"), 0o777);
    assert!(access.check_folders(&spool).is_err());
}

#[test]
fn strict_refuses_folders_of_another_user() {
    if !os::is_root() {
        eprintln!("not run: only root can give a directory away");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    drop(SpoolDir::open_with(&path, &strict()).unwrap());
    chown(&path, Some(WEB), None).unwrap();
    let text = chain(&SpoolDir::open_with(&path, &strict()).unwrap_err());
    assert!(text.contains("belongs to uid 12345") && text.contains("`chown 0 "), "{text}");
}
