//! FIFOs: made in the place of old ones, read without waiting, removed only if they are still ours.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use unspool_sys::fifo::Fifo;

#[test]
fn a_fifo_takes_the_place_of_an_old_one_and_of_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    let old = Fifo::create(&path).unwrap();
    let new = Fifo::create(&path).unwrap();
    let metadata = path.symlink_metadata().unwrap();
    assert!(metadata.file_type().is_fifo());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let mut buffer = [0; 8];
    assert_eq!(new.read(&mut buffer).unwrap(), 0);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"abc").unwrap();
    assert_eq!(old.read(&mut buffer).unwrap(), 0);
    assert_eq!((new.read(&mut buffer).unwrap(), &buffer[..3]), (3, &b"abc"[..]));
    // The name is the other one's.
    old.remove().unwrap();
    assert_eq!(path.symlink_metadata().unwrap().ino(), metadata.ino());
    new.remove().unwrap();
    assert!(path.symlink_metadata().is_err());
    new.remove().unwrap();

    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let error = Fifo::create(&link).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(link.symlink_metadata().is_ok());
}
