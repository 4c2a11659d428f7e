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
    Network(&'static str),
    /// Gone with the machine.
    Memory,
    /// Any other.
    Other,
}

/// Of which kind the file system of an open file or directory is.
pub fn file_system(file: BorrowedFd<'_>) -> io::Result<FileSystem> {
    // The kernel's numbers, of which rustix has few. Their type differs from machine to machine.
    let kind = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    Ok(match kind {
        0x6969 => FileSystem::Network("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => FileSystem::Network("SMB"),
        0x6573_5546 => FileSystem::Network("FUSE"),
        0x0102_1997 => FileSystem::Network("9P"),
        0x00c3_6400 => FileSystem::Network("Ceph"),
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        _ => FileSystem::Other,
    })
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
}
