//! What the standard library cannot do and these tests need: locks of another kind, other users,
//! mounts of our own, forks.
#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use unspool_sys::poll::Poll;
use unspool_sys::process::{Child, Exit};

use crate::child::forking;

/// Tries to take the lock that uWSGI takes: POSIX, exclusive, the whole file.
pub(crate) fn try_posix_lock(file: &File) -> bool {
    posix(file, libc::F_WRLCK)
}

/// Releases a lock of that kind.
pub(crate) fn posix_unlock(file: &File) {
    assert!(posix(file, libc::F_UNLCK));
}

fn posix(file: &File, kind: libc::c_int) -> bool {
    let request = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel only reads the valid `request`.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const request) == 0 }
}

/// Whether `strace` is here and may trace.
pub(crate) fn can_trace() -> bool {
    let _forking = forking();
    let mut command = Command::new("strace");
    let status = command.args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Makes a FIFO.
pub(crate) fn make_fifo(path: &Path) {
    let path = c_string(path);
    // SAFETY: the pointer is a string that lives until the call is over.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Runs something in a thread that has no rights beyond those of an ordinary user.
pub(crate) fn as_ordinary_user<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    const NOBODY: libc::uid_t = 65_534;
    on_thread(|| {
        if is_root() {
            // SAFETY: the plain system call changes the user of this thread alone, and with it
            // takes away its capabilities.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
        }
        body()
    })
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: without arguments, without effects.
    unsafe { libc::geteuid() == 0 }
}

/// Runs something in a thread of this user, of this group alone, with this umask. For root only.
pub(crate) fn as_user<T: Send>(
    uid: u32,
    gid: u32,
    umask: u32,
    body: impl FnOnce() -> T + Send,
) -> T {
    on_thread(|| {
        // SAFETY: the plain system calls change this thread alone; the list of groups has one.
        let results = unsafe {
            [
                libc::syscall(libc::SYS_unshare, libc::CLONE_FS),
                libc::syscall(libc::SYS_umask, umask).min(0),
                libc::syscall(libc::SYS_setgroups, 1, &raw const gid),
                libc::syscall(libc::SYS_setresgid, gid, gid, gid),
                libc::syscall(libc::SYS_setresuid, uid, uid, uid),
            ]
        };
        assert_eq!(results, [0; 5], "{}", io::Error::last_os_error());
        body()
    })
}

/// Runs something in a thread that sees mounts of its own, with a file system in memory of so many
/// bytes at `path`. `None` where we may not mount. All of it is gone with the thread.
pub(crate) fn with_small_disk<T: Send>(
    path: &Path,
    bytes: usize,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    let options = format!("size={bytes},mode=700");
    with_mount(path, "tmpfs", 0, &options, body)
}

/// Runs something in a thread that sees `path` as a file system that is mounted read-only.
pub(crate) fn with_read_only_disk<T: Send>(
    path: &Path,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    with_mount(path, "tmpfs", libc::MS_RDONLY, "mode=700", body)
}

fn with_mount<T: Send>(
    path: &Path,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    let (none, root) = (CString::new("none").unwrap(), CString::new("/").unwrap());
    let (kind, options) = (CString::new(kind).unwrap(), CString::new(options).unwrap());
    let target = c_string(path);
    on_thread(|| {
        // SAFETY: `unshare` takes no pointers and affects this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return None;
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: all pointers are strings that live until the call is over, or null where the
        // call takes that for "nothing".
        let mounted = unsafe {
            libc::mount(none.as_ptr(), root.as_ptr(), none.as_ptr(), private, std::ptr::null()) == 0
                && libc::mount(
                    none.as_ptr(),
                    target.as_ptr(),
                    kind.as_ptr(),
                    flags,
                    options.as_ptr().cast(),
                ) == 0
        };
        mounted.then(body)
    })
}

fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Forks; the child does `body` and exits with its status, the parent waits for it.
///
/// The child has only the thread that forked, as under a server that forks its workers.
pub(crate) fn in_forked_child(body: impl FnOnce() -> i32) -> Exit {
    let _forking = forking();
    // SAFETY: the child uses memory, files and nothing that a lost thread may hold but the
    // allocator, which the C library makes usable after a fork; it leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(status) };
    }
    assert!(pid > 0, "{}", io::Error::last_os_error());
    let child = Child::open(pid as u32).unwrap();
    let poll = Poll::new().unwrap();
    poll.add(child.as_fd(), 1).unwrap();
    let mut keys = Vec::new();
    poll.wait(&mut keys, Some(20_000_000_000)).unwrap();
    if keys.is_empty() {
        child.kill();
        poll.wait(&mut keys, None).unwrap();
        panic!("the forked child hangs");
    }
    child.try_wait().unwrap().unwrap()
}

/// Says that a test did not run, and why: past the harness, which hides what passing tests print.
pub(crate) fn not_run(why: &str) {
    let mut output = std::io::stderr().lock();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = output.write_all(format!("not run: {name}: {why}\n").as_bytes());
}
