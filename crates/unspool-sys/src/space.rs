//! How much a file system has, and has left.

use std::io;
use std::os::fd::BorrowedFd;

/// The room of a file system, for whoever is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that are left.
    pub bytes_left: u64,
    /// Bytes that a file takes at least, and in multiples of.
    pub block_bytes: u64,
    /// Inodes in all; 0 where they have no number of their own.
    pub inodes: u64,
    /// Inodes that are left.
    pub inodes_left: u64,
}

/// Looks at the file system of an open file or directory.
pub fn space(file: BorrowedFd<'_>) -> io::Result<Space> {
    let found = rustix::fs::fstatvfs(file)?;
    Ok(Space {
        bytes: found.f_blocks.saturating_mul(found.f_frsize),
        bytes_left: found.f_bavail.saturating_mul(found.f_frsize),
        block_bytes: found.f_frsize.max(1),
        inodes: found.f_files,
        inodes_left: found.f_favail,
    })
}

/// A kind of file system that matters to whoever keeps files in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Others may change it from other machines, and this one hears nothing of that.
    Network(Network),
    /// Gone with the machine.
    Memory,
    /// Any other.
    Other,
}

/// A file system of several machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// For people.
    pub name: &'static str,
    /// Its locks are those of all machines, unless it was mounted so that they are not. `false`: they may
    /// be this machine's alone.
    pub locks_are_shared: bool,
}

/// Of which kind the file system of an open file or directory is.
pub fn file_system(file: BorrowedFd<'_>) -> io::Result<FileSystem> {
    // Their type differs from machine to machine.
    let magic = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    if magic == FUSE {
        let device = rustix::fs::fstat(file)?.st_dev;
        let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        return Ok(fuse(type_of(&mounts, &numbers)));
    }
    Ok(kind(magic))
}

const FUSE: u64 = 0x6573_5546;

/// The kernel's numbers, of which rustix has few.
fn kind(magic: u64) -> FileSystem {
    let (name, locks_are_shared) = match magic {
        0x6969 => ("NFS", true),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => ("SMB", true),
        0x00c3_6400 => ("Ceph", true),
        0x0bd0_0bd0 => ("Lustre", true),
        0x0116_1970 => ("GFS2", true),
        0x7461_636f => ("OCFS2", true),
        0x4750_4653 => ("GPFS", true),
        0x1983_0326 => ("BeeGFS", false),
        0x2003_0528 => ("OrangeFS", false),
        0xaad7_aaea => ("PanFS", false),
        0x0102_1997 => ("9P", false),
        0x5346_414f | 0x6b41_4653 => ("AFS", false),
        0x7375_7245 => ("Coda", false),
        0x786f_4256 => ("a folder of VirtualBox", false),
        0xbacb_acbc => ("a folder of VMware", false),
        FUSE => ("FUSE", false),
        0x0102_1994 | 0x8584_58f6 => return FileSystem::Memory,
        _ => return FileSystem::Other,
    };
    FileSystem::Network(Network { name, locks_are_shared })
}

/// What stands behind a FUSE of this type. One that is not known may be anything.
fn fuse(kind: Option<&str>) -> FileSystem {
    let (name, locks_are_shared) = match kind {
        // Of one machine: containers and foreign disks.
        Some("fuse.fuse-overlayfs" | "fuse.ntfs-3g" | "fuseblk") => return FileSystem::Other,
        Some("fuse.sshfs") => ("sshfs", false),
        Some("fuse.glusterfs") => ("GlusterFS", true),
        Some("fuse.ceph" | "fuse.ceph-fuse") => ("Ceph", true),
        Some("virtiofs") => ("virtiofs", false),
        _ => ("FUSE", false),
    };
    FileSystem::Network(Network { name, locks_are_shared })
}

/// The type of the file system with these numbers in a text of `/proc/self/mountinfo`.
fn type_of<'a>(mounts: &'a str, numbers: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(numbers))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn there_is_no_more_left_than_there_is() {
        let folder = crate::Folder::open(std::path::Path::new("/")).unwrap();
        let found = space(folder.as_fd()).unwrap();
        assert!(found.bytes > 0 && found.bytes_left <= found.bytes, "{found:?}");
        assert!(found.inodes_left <= found.inodes, "{found:?}");
    }

    #[test]
    fn a_file_system_is_told_by_its_number_and_a_fuse_by_its_mount() {
        let network = |found| match found {
            FileSystem::Network(Network { name, locks_are_shared }) => (name, locks_are_shared),
            other => panic!("{other:?}"),
        };
        assert_eq!(network(kind(0x6969)), ("NFS", true));
        assert_eq!(network(kind(0x0102_1997)), ("9P", false));
        assert_eq!(kind(0xef53), FileSystem::Other);
        assert_eq!(kind(0x0102_1994), FileSystem::Memory);
        let mounts = "28 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
             91 28 0:44 / /mnt/a\\040b rw,nosuid shared:5 - fuse.sshfs me@there: rw,user_id=0\n";
        assert_eq!(type_of(mounts, "0:44"), Some("fuse.sshfs"));
        assert_eq!(type_of(mounts, "0:4"), None);
        assert_eq!(network(fuse(type_of(mounts, "0:44"))), ("sshfs", false));
        assert_eq!(network(fuse(None)), ("FUSE", false));
        assert_eq!(fuse(Some("fuse.fuse-overlayfs")), FileSystem::Other);
    }
}
