//! Users and groups: who they are, and becoming one.
#![expect(unsafe_code, reason = "rustix does not know the databases of users")]

use std::ffi::{CStr, CString};
use std::io;

use crate::host;

/// What the system's databases say of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

/// Room for one entry of a database: what is tried first, and last.
const ENTRY_BYTES: usize = 4096;
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Groups of a user that are asked for.
const GROUPS_MAX: usize = 1024;

/// The user of this name.
pub fn by_name(name: &str) -> io::Result<Option<User>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    with_room(|room| {
        // SAFETY: all-zero bytes are a valid passwd: numbers and null pointers.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call, and the length is the buffer's.
        let status = unsafe {
            let room = (room.as_mut_ptr().cast(), room.len());
            libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.0, room.1, &raw mut found)
        };
        (status, (!found.is_null()).then(|| user(&entry)))
    })
}

/// The user of this number.
pub fn by_number(uid: u32) -> io::Result<Option<User>> {
    with_room(|room| {
        // SAFETY: all-zero bytes are a valid passwd.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call, and the length is the buffer's.
        let status = unsafe {
            let room = (room.as_mut_ptr().cast(), room.len());
            libc::getpwuid_r(uid, &raw mut entry, room.0, room.1, &raw mut found)
        };
        (status, (!found.is_null()).then(|| user(&entry)))
    })
}

/// The user of this process and its machine, for people: `user@host`, or the user where it has no name.
pub fn whoami() -> String {
    let uid = host::uid();
    let name = by_number(uid).ok().flatten().map(|user| user.name);
    let name = name.unwrap_or_else(|| format!("uid {uid}"));
    match host::hostname() {
        host if host.is_empty() => name,
        host => format!("{name}@{}", String::from_utf8_lossy(&host)),
    }
}

fn user(entry: &libc::passwd) -> User {
    // SAFETY: the entry was found, so its name is a string in the buffer that the caller holds.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    User { name: name.to_string_lossy().into_owned(), uid: entry.pw_uid, gid: entry.pw_gid }
}

/// The number of the group of this name.
pub fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    with_room(|room| {
        // SAFETY: all-zero bytes are a valid group.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call, and the length is the buffer's.
        let status = unsafe {
            let room = (room.as_mut_ptr().cast(), room.len());
            libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.0, room.1, &raw mut found)
        };
        (status, (!found.is_null()).then_some(entry.gr_gid))
    })
}

/// Asks with more room until the answer fits. Databases report "not there" in several ways.
fn with_room<T>(mut ask: impl FnMut(&mut [u8]) -> (i32, Option<T>)) -> io::Result<Option<T>> {
    let mut bytes = ENTRY_BYTES;
    loop {
        let mut room = vec![0u8; bytes];
        match ask(&mut room) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if bytes < ENTRY_BYTES_MAX => bytes *= 4,
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The groups of a user, its primary one among them.
pub fn groups_of(name: &str, primary: u32) -> Vec<u32> {
    let Ok(name) = CString::new(name) else { return vec![primary] };
    let mut groups = vec![0; GROUPS_MAX];
    let mut count = GROUPS_MAX as i32;
    // SAFETY: the pointers are valid during the call, and `count` is the room behind `groups`.
    let status =
        unsafe { libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &raw mut count) };
    if status < 0 {
        return vec![primary];
    }
    groups.truncate(count.max(0) as usize);
    groups
}

/// Takes on a group, supplementary groups and a user, in this order; `None` leaves one as it is.
/// By libc, which does so for all threads.
pub fn become_user(gid: Option<u32>, groups: Option<&[u32]>, uid: Option<u32>) -> io::Result<()> {
    let check = |status: i32| if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    if let Some(gid) = gid {
        // SAFETY: takes a number.
        check(unsafe { libc::setgid(gid) })?;
    }
    if let Some(groups) = groups {
        // SAFETY: the pointer and the length are those of the slice.
        check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    }
    if let Some(uid) = uid {
        // SAFETY: takes a number.
        check(unsafe { libc::setuid(uid) })?;
    }
    Ok(())
}
