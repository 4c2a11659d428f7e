//! Timers of one process that send it a signal. They need nobody else: not the daemon, not an
//! interpreter that runs.
#![expect(unsafe_code, reason = "no library has the timers of POSIX")]

use std::io;

/// What a timer does when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Sends this signal to the thread that made the timer.
    Signal(i32),
    /// Kills the process.
    Kill,
}

/// A timer of this process. A child does not inherit it.
#[derive(Debug)]
pub struct Timer(libc::timer_t);

// SAFETY: the kernel's name of a timer, valid in every thread of the process.
unsafe impl Send for Timer {}
// SAFETY: as above; the calls on it change no memory of ours.
unsafe impl Sync for Timer {}

impl Timer {
    /// Makes a timer on the monotonic clock that is not set.
    pub fn new(alarm: Alarm) -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid sigevent.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        match alarm {
            Alarm::Kill => {
                event.sigev_notify = libc::SIGEV_SIGNAL;
                event.sigev_signo = libc::SIGKILL;
            }
            Alarm::Signal(signal) => {
                event.sigev_notify = libc::SIGEV_THREAD_ID;
                event.sigev_signo = signal;
                event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            }
        }
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to values that live through the call.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) }
            == -1
        {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(timer))
    }

    /// Sets it to go off once, so many nanoseconds from now; 0: never.
    pub fn set(&self, after_ns: u64) -> io::Result<()> {
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(after_ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: (after_ns % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: the timer exists as long as `self`, and no old setting is asked for.
        let set =
            unsafe { libc::timer_settime(self.0, 0, &raw const setting, std::ptr::null_mut()) };
        if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer exists, and nobody uses it after this.
        let _ = unsafe { libc::timer_delete(self.0) };
    }
}

/// The signal that tells a worker to look whether its task is over its time or cancelled: one that
/// no common program uses.
pub fn look_signal() -> i32 {
    libc::SIGRTMIN() + 6
}
