//! Files beside the spools, by their paths: log files, and small files that are replaced whole.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{self, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::file;
use crate::folder::{FileKind, Folder, Sharing, Stat};
use crate::host;

/// Opens a file to append to it, making it with mode 0640 if it is missing. Writing to it does not
/// wait, also if it is a FIFO.
pub fn open_to_append(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    Ok(fs::open(path, flags | OFlags::NOCTTY | OFlags::NONBLOCK, mode)?)
}

/// Opens a regular file beneath a directory, to which no `..` and no link leads out. `Ok(None)`: there is
/// none, or it is something else.
pub fn open_beneath(directory: &Path, path: &[u8]) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let root =
        fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = root.and_then(|root| {
        let path = if path.is_empty() { b"." } else { path };
        fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), beneath)
    });
    match opened {
        Ok(opened) => {
            let stat = file::stat_file(opened.as_fd())?;
            Ok((stat.kind == FileKind::File).then_some((opened, stat)))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a file is, so that one that was replaced is told from it: device and inode.
pub fn identity(file: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = file::stat_file(file.as_fd())?;
    Ok((stat.device, stat.inode))
}

/// Whether this open file is the one at `path`.
pub fn is_at(file: impl AsFd, path: &Path) -> io::Result<bool> {
    match fs::stat(path) {
        Ok(found) => Ok(identity(file)? == (found.st_dev, found.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Empties an open file.
pub fn empty(file: impl AsFd) -> io::Result<()> {
    Ok(fs::ftruncate(file, 0)?)
}

/// Changes the mode of an open file.
pub fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Gives an open file to a user and a group; `None` stays.
pub fn give(file: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    Ok(fs::fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?)
}

/// Moves a file to a name that nothing has; `AlreadyExists` if something has it.
pub fn rename_new(path: &Path, to: &Path) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let (new_parent, new_name) = split(to)?;
    let (parent, new_parent) = (Folder::open_to_look(parent)?, Folder::open_to_look(new_parent)?);
    parent.rename(name.as_bytes(), &new_parent, new_name.as_bytes())
}

/// Moves a file to a name, in the place of what has it.
pub fn rename_over(path: &Path, to: &Path) -> io::Result<()> {
    Ok(fs::rename(path, to)?)
}

/// Puts a file of this content, of mode 0644 less the mask, in the place of `path`, in one step.
/// Where only the file itself may be written, and not its directory, it is written in place.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let written =
        write_aside(path, content, |folder, aside, name| folder.replace(aside, name.as_bytes()));
    match written {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match fs::open(path, flags, Mode::empty()) {
                Ok(file) => file::write_all(file.as_fd(), content),
                Err(_) => Err(error),
            }
        }
        other => other,
    }
}

/// Makes a file of this content, of mode 0644 less the mask, in one step; `AlreadyExists` if something has
/// its name.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    write_aside(path, content, |folder, aside, name| folder.rename(aside, folder, name.as_bytes()))
}

/// Writes a file aside and has it put where it belongs.
fn write_aside(
    path: &Path,
    content: &[u8],
    put: impl FnOnce(&Folder, &[u8], &OsStr) -> io::Result<()>,
) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let mut aside = name.to_owned().into_vec();
    aside.insert(0, b'.');
    aside.extend_from_slice(format!(".{}", host::pid()).as_bytes());
    let folder = Folder::open_to_look(parent)?;
    // Left by a process of the same number that was killed in between.
    let _ = folder.unlink(&aside);
    let file = folder.create_readable(&aside)?;
    let written = file::write_all(file.as_fd(), content).and_then(|()| put(&folder, &aside, name));
    if written.is_err() {
        let _ = folder.unlink(&aside);
    }
    written
}

/// Deletes a file if it has this content. Returns whether it did.
pub fn remove_if(path: &Path, content: &[u8]) -> io::Result<bool> {
    let (parent, name) = split(path)?;
    match std::fs::read(path) {
        Ok(found) if found == content => Folder::open_to_look(parent)?.unlink(name.as_bytes()),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file")
    })?;
    Ok((parent.unwrap_or(Path::new(".")), name))
}

/// Makes a directory of mode 0700 or of this sharing for another user, if it is missing and nobody
/// but root could put something else in its place meanwhile. Returns whether it was made.
pub fn make_directory_for(
    path: &Path,
    uid: Option<u32>,
    gid: Option<u32>,
    sharing: Sharing,
) -> io::Result<bool> {
    let (parent, name) = split(path)?;
    let parent = Folder::open(parent)?;
    let stat = fs::fstat(&parent)?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Ok(false);
    }
    if !parent.make_sub(name.as_bytes())? {
        return Ok(false);
    }
    parent.open_sub(name.as_bytes())?.give(sharing, uid, gid)?;
    Ok(true)
}

/// Reads a small regular file that holds a secret: what it is, and its content, one byte more than
/// `bytes_max` at most.
pub fn read_secret(path: &Path, bytes_max: usize) -> io::Result<(Stat, Vec<u8>)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = fs::open(path, flags, Mode::empty())?;
    let stat = file::stat_file(file.as_fd())?;
    if stat.kind != FileKind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut content = vec![0; bytes_max + 1];
    let got = file::read_at(file.as_fd(), &mut content, 0)?;
    content.truncate(got);
    Ok((stat, content))
}
