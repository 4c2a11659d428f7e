//! Facts about the machine and the process, and random bytes.

use std::io;

/// The machine's host name, as raw bytes.
pub fn hostname() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// Another word for each start of the machine; empty where the system does not tell.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// This process. Asked each time: a process that forked must not use its parent's.
pub fn pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// Whether this process may do anything to any file.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if got == N { Ok(bytes) } else { Err(io::Error::other("the kernel gave too few random bytes")) }
}

/// The effective user.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group.
pub fn gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether this process is in a group, as what may hand that group on to what it makes.
pub fn is_in_group(gid: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    self::gid() == gid || groups.iter().any(|group| group.as_raw() == gid)
}

/// Raises the limit of open files to what the system allows this process.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused, the daemon works with what it has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Sets the mask of permission bits that new files do not get; the workers inherit it.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Descriptors that this process may have open.
pub fn open_files_limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize)
}
