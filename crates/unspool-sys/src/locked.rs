//! Which files are locked, as the kernel lists them.

use std::collections::HashSet;
use std::io;
use std::path::Path;

const LOCKS: &str = "/proc/locks";
/// The field that has device and inode, as `fd:01:4711`.
const PLACE: usize = 5;

/// The inodes of files of this machine that somebody has locked, of any file system: who needs to be
/// sure asks for the lock of that file. A machine without that list has none.
pub fn locked_inodes() -> io::Result<HashSet<u64>> {
    match std::fs::read_to_string(Path::new(LOCKS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
        other => Ok(inodes_in(&other?)),
    }
}

fn inodes_in(text: &str) -> HashSet<u64> {
    text.lines().filter_map(inode_in).collect()
}

fn inode_in(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    // Who waits for a lock has an arrow behind the number.
    let place = match fields.nth(1)? {
        "->" => fields.nth(PLACE - 1)?,
        _ => fields.nth(PLACE - 2)?,
    };
    place.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::lock;

    #[test]
    fn lines_have_their_inode_in_one_place() {
        let text = "1: OFDLCK ADVISORY  WRITE -1 fd:01:4711 0 EOF\n\
                    2: POSIX  ADVISORY  WRITE 77 00:2a:12 0 0\n\
                    2: -> POSIX  ADVISORY  WRITE 78 00:2a:13 0 0\nodd\n";
        assert_eq!(inodes_in(text), HashSet::from([4711, 12, 13]));
    }

    #[test]
    fn a_lock_is_listed() {
        let file = tempfile::tempfile().unwrap();
        assert!(lock::try_lock(file.as_fd()).unwrap());
        assert!(locked_inodes().unwrap().contains(&file.metadata().unwrap().ino()));
    }
}
