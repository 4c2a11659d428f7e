//! Names in an open directory: nothing is followed, nothing is overwritten.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use unspool_sys::file::{read_at, set_mtime, stat_file, write_all, write_byte_at};
use unspool_sys::folder::make_path;
use unspool_sys::{FileKind, Folder, Sharing};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_and_folders_are_made_private_and_never_over_others() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    folder.create(b"file").unwrap();
    assert_eq!(folder.create(b"file").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(folder.make_sub(b"sub").unwrap());
    assert!(!folder.make_sub(b"sub").unwrap());
    assert_eq!(mode(&directory.path().join("file")), 0o600);
    assert_eq!(mode(&directory.path().join("sub")), 0o700);
    symlink("elsewhere", directory.path().join("link")).unwrap();
    assert!(folder.create(b"link").is_err());
    assert!(folder.open_or_create(b"link").is_err());
    assert!(!directory.path().join("elsewhere").exists());
}

#[test]
fn a_link_is_seen_as_one_and_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    folder.make_sub(b"sub").unwrap();
    folder.create(b"file").unwrap();
    symlink("sub", directory.path().join("to_sub")).unwrap();
    symlink("file", directory.path().join("to_file")).unwrap();
    assert!(folder.open_sub(b"to_sub").is_err());
    assert!(folder.open_file(b"to_file").is_err());
    assert!(folder.open_to_read(b"to_file").is_err());
    for (name, kind) in [
        (&b"sub"[..], FileKind::Directory),
        (b"file", FileKind::File),
        (b"to_file", FileKind::Other),
        (b"to_sub", FileKind::Other),
    ] {
        assert_eq!(folder.stat(name).unwrap().unwrap().kind, kind);
    }
    assert_eq!(folder.stat(b"nothing").unwrap(), None);
    let mut listed: Vec<_> = folder.list().unwrap().map(|entry| entry.unwrap().0).collect();
    listed.sort();
    assert_eq!(listed, [&b"file"[..], b"sub", b"to_file", b"to_sub"]);
}

#[test]
fn a_rename_never_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    for (name, content) in [(b"a", b"1"), (b"b", b"2")] {
        write_all(folder.create(name).unwrap().as_fd(), content).unwrap();
    }
    let error = folder.rename(b"a", &folder, b"b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(directory.path().join("b")).unwrap(), b"2");
    folder.rename(b"a", &folder, b"c").unwrap();
    assert!(folder.unlink(b"c").unwrap());
    assert!(!folder.unlink(b"c").unwrap());
}

#[test]
fn bytes_and_times_are_set_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    let file = folder.open_or_create(b"file").unwrap();
    write_all(file.as_fd(), b"0123456789").unwrap();
    write_byte_at(file.as_fd(), b'x', 3).unwrap();
    let mut buffer = [0u8; 20];
    assert_eq!(read_at(file.as_fd(), &mut buffer, 2).unwrap(), 8);
    assert_eq!(&buffer[..8], b"2x456789");
    for mtime_ns in [0, 1, 1_999_999_999, 1_995_419_124_123_456_789, -1_500_000_000] {
        set_mtime(file.as_fd(), mtime_ns).unwrap();
        assert_eq!(stat_file(file.as_fd()).unwrap().mtime_ns, mtime_ns);
    }
}

#[test]
fn a_path_is_made_as_far_as_it_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    make_path(&root.join("a/b/c")).unwrap();
    make_path(&root.join("a/b/c")).unwrap();
    assert_eq!([mode(&root.join("a")), mode(&root.join("a/b/c"))], [0o700; 2]);
    std::fs::write(root.join("file"), b"").unwrap();
    assert!(make_path(&root.join("file")).is_err());
    assert!(make_path(&root.join("file/below")).is_err());
    symlink(root.join("a/b"), root.join("link")).unwrap();
    make_path(&root.join("link/d")).unwrap();
    assert!(root.join("a/b/d").is_dir());
    symlink("nowhere", root.join("dangling")).unwrap();
    assert!(make_path(&root.join("dangling")).is_err());
    assert!(make_path(Path::new("")).is_err());
}

#[test]
fn a_name_of_several_components_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    folder.make_sub(b"sub").unwrap();
    folder.create(b"file").unwrap();
    let sub = folder.open_sub(b"sub").unwrap();
    for name in [&b"../file"[..], b"..", b"/etc/passwd", b"sub/../file", b"a/b", b"/"] {
        let kind = |error: std::io::Error| error.kind();
        let kinds = [
            sub.open_sub(name).map(drop).map_err(kind),
            sub.make_sub(name).map(drop).map_err(kind),
            sub.create(name).map(drop).map_err(kind),
            sub.open_or_create(name).map(drop).map_err(kind),
            sub.open_file(name).map(drop).map_err(kind),
            sub.open_to_read(name).map(drop).map_err(kind),
            sub.stat(name).map(drop).map_err(kind),
            sub.unlink(name).map(drop).map_err(kind),
            sub.remove_sub(name).map_err(kind),
            sub.rename(name, &folder, b"x").map_err(kind),
            sub.rename(b"x", &folder, name).map_err(kind),
            sub.replace(b"x", name).map_err(kind),
        ];
        assert_eq!(kinds, [Err(ErrorKind::InvalidInput); 12], "{}", String::from_utf8_lossy(name));
        assert_eq!(sub.birth_ns(name), None);
    }
    assert!(directory.path().join("file").exists());
}

#[test]
fn in_a_shared_folder_all_is_shared_whatever_the_mask() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let folder = Folder::open(path).unwrap().shared(Sharing::GroupWrites);
    assert!(folder.make_sub(b"sub").unwrap());
    assert!(!folder.make_sub(b"sub").unwrap());
    let sub = folder.open_sub(b"sub").unwrap();
    sub.create(b"new").unwrap();
    sub.open_or_create(b"lock").unwrap();
    assert_eq!(mode(&path.join("sub")), 0o2770);
    assert_eq!(mode(&path.join("sub/new")), 0o660);
    assert_eq!(mode(&path.join("sub/lock")), 0o660);
    // What was there keeps its mode: it may be another user's.
    std::fs::set_permissions(path.join("sub/lock"), PermissionsExt::from_mode(0o600)).unwrap();
    sub.open_or_create(b"lock").unwrap();
    assert_eq!(mode(&path.join("sub/lock")), 0o600);
    // Nothing is left of what was made aside.
    assert_eq!(folder.list().unwrap().count(), 1);
    std::fs::write(path.join("taken"), "").unwrap();
    assert!(!folder.make_sub(b"taken").unwrap());
}

#[test]
fn what_root_makes_in_a_folder_of_another_user_is_that_users() {
    if !unspool_sys::host::is_root() {
        println!("not run: only root can be here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65533)).unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    folder.make_sub(b"sub").unwrap();
    let made = std::fs::symlink_metadata(directory.path().join("sub")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (65534, 65533, 0o700));
    // A file may be a task, which is of who submits it; what lies in a folder that gives is not.
    let owner = |name: &str| {
        let made = std::fs::symlink_metadata(directory.path().join(name)).unwrap();
        (made.uid(), made.gid())
    };
    folder.create(b"task").unwrap();
    assert_eq!(owner("task").0, 0);
    folder.open_or_create(b"old").unwrap();
    let sub = folder.giving().open_sub(b"sub").unwrap();
    sub.create(b"file").unwrap();
    sub.open_or_create(b"lock").unwrap();
    assert_eq!((owner("sub/file"), owner("sub/lock")), ((65534, 65533), (65534, 65533)));
    // What was there before is somebody's.
    let folder = Folder::open(directory.path()).unwrap().giving();
    folder.open_or_create(b"old").unwrap();
    assert_eq!(owner("old").0, 0);
    std::fs::hard_link(directory.path().join("old"), directory.path().join("link")).unwrap();
    assert!(folder.give_name(b"old", 65534, 65533).is_err());
    std::fs::remove_file(directory.path().join("link")).unwrap();
    folder.give_name(b"old", 65534, 65533).unwrap();
    assert_eq!(owner("old"), (65534, 65533));
    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o2770)).unwrap();
    std::os::unix::fs::chown(&shared, Some(65534), Some(65533)).unwrap();
    let shared = Folder::open(&shared).unwrap().shared(Sharing::GroupWrites);
    assert!(shared.make_sub(b"sub").unwrap());
    assert_eq!(owner("shared/sub"), (65534, 65533));
}
