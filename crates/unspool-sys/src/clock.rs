//! Clocks, in nanoseconds.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970. Steps when the machine's clock is set.
pub fn now_ns() -> i64 {
    read(ClockId::Realtime)
}

/// Nanoseconds since some fixed time. Never steps; comparable between processes.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic) as u64
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
