//! Clocks, in nanoseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970. Steps when the machine's clock is set.
pub fn now_ns() -> i64 {
    read(ClockId::Realtime)
}

/// Nanoseconds since some fixed time. Never steps; comparable between processes.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic) as u64
}

/// Nanoseconds since the machine started, asleep or awake. Never steps.
pub fn since_boot_ns() -> i64 {
    read(ClockId::Boottime)
}

/// Waits, or until a signal comes: for what raises no event, as a lock that another process holds.
pub fn pause(wait: Duration) {
    if let Ok(wait) = wait.try_into() {
        let _ = rustix::thread::nanosleep(&wait);
    }
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
