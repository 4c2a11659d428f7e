//! Waiting for several descriptors, timers and wake-ups from other threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// An epoll instance whose members are known by a number.
#[derive(Debug)]
pub struct Poll {
    fd: OwnedFd,
}

const ONCE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);
const SHARED: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::EXCLUSIVE);
const EDGE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);
const ONCE_ROOM: epoll::EventFlags = epoll::EventFlags::OUT.union(epoll::EventFlags::ONESHOT);

/// Members reported by one call of [`Poll::wait`].
const EVENTS_MAX: usize = 64;

impl Poll {
    /// A new instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Reports `key` whenever `member` can be read or was hung up.
    pub fn add(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::add(&self.fd, member, data, epoll::EventFlags::IN)?)
    }

    /// Reports `key` once for each time that `member` is written to, or several; nobody has to read it.
    pub fn add_edge(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::add(&self.fd, member, data, EDGE)?)
    }

    /// Reports `key` while `member` can be read. Of several instances that have it so the system wakes one
    /// that is just waited on, and not all; the others do not hear of it. [`Poll::remove`] it and add it again
    /// to hear of what has come before.
    pub fn add_shared(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::add(&self.fd, member, data, SHARED)?)
    }

    /// Reports `key` once; to hear of this member again, [`Poll::rearm`] it.
    pub fn add_once(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::add(&self.fd, member, data, ONCE)?)
    }

    /// Reports `key` once more; at once if the member can be read already.
    pub fn rearm(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::modify(&self.fd, member, data, ONCE)?)
    }

    /// Reports `key` once, when there is room to write or the member was hung up.
    pub fn rearm_for_room(&self, member: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::modify(&self.fd, member, data, ONCE_ROOM)?)
    }

    /// Stops to report a member.
    pub fn remove(&self, member: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, member)?)
    }

    /// Waits for members, at most `timeout_ns` (`None`: for ever), and puts their keys in `keys`.
    pub fn wait(&self, keys: &mut Vec<u64>, timeout_ns: Option<u64>) -> io::Result<()> {
        keys.clear();
        let timeout = timeout_ns.map(|ns| Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        });
        let mut events = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) => keys.extend(events.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What [`wait_or_unread`] saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// These can be read or were hung up, by their place; none: the time is over.
    Readable(Vec<usize>),
    /// Nobody reads the output any more.
    Unread,
}

/// Waits until one of `inputs` can be read, or nobody reads `output` any more, which is seen without a write.
pub fn wait_or_unread(
    inputs: &[BorrowedFd<'_>],
    output: BorrowedFd<'_>,
    wait: Duration,
) -> io::Result<Waited> {
    let inputs = inputs.iter().map(|input| PollFd::from_borrowed_fd(*input, PollFlags::IN));
    // Without a wish, that there is no reader is told all the same.
    let mut fds = vec![PollFd::from_borrowed_fd(output, PollFlags::empty())];
    fds.extend(inputs);
    let timeout =
        Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Ok(Waited::Unread);
    }
    let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    let ready = fds[1..].iter().enumerate().filter(|(_, fd)| is_ready(fd));
    Ok(Waited::Readable(ready.map(|(place, _)| place).collect()))
}

/// What an eventfd is written: a count of 1, in the machine's byte order.
#[expect(clippy::host_endian_bytes, reason = "the kernel reads it as a number")]
const ONE: [u8; 8] = 1u64.to_ne_bytes();

/// Wakes a thread that waits in [`Poll::wait`].
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl From<OwnedFd> for Waker {
    /// One that another process has made.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Waker {
    /// A new wake-up.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor readable. Cannot be lost; several calls count as one.
    pub fn wake(&self) {
        // The only failure is a counter at its maximum: then the descriptor is readable already.
        let _ = rustix::io::write(&self.fd, &ONE);
    }

    /// Makes the descriptor unreadable again. Call it before looking at what woke the thread.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
    }
}

/// A timer on the wall clock, exact also when the clock is set.
#[derive(Debug)]
pub struct WallTimer {
    fd: OwnedFd,
}

impl AsFd for WallTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl WallTimer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Realtime, flags)? })
    }

    /// Makes the descriptor readable at a time, or when the machine's clock is set (so that the
    /// owner looks again), also if it was since the last look; `None` disarms.
    pub fn set(&self, at_ns: Option<i64>) -> io::Result<()> {
        // All zeros would disarm: the earliest time is 1 ns.
        let at_ns = at_ns.map_or(0, |at| at.max(1));
        let it_value = Timespec { tv_sec: at_ns / 1_000_000_000, tv_nsec: at_ns % 1_000_000_000 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.fd, flags, &Itimerspec { it_interval, it_value }) {
            // The clock was set since the owner last looked. The timer is armed, and no longer
            // tells of it: only another call does.
            Err(Errno::CANCELED) => {
                let it_value = Timespec { tv_sec: 0, tv_nsec: 1 };
                let flags = TimerfdTimerFlags::ABSTIME;
                timerfd_settime(&self.fd, flags, &Itimerspec { it_interval, it_value })
            }
            set => set,
        }?;
        Ok(())
    }

    /// Makes the descriptor unreadable again after it fired.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
    }
}
