//! A moment on the monotonic clock, which `unspool-sys` alone reads.

use std::ops::Add;
use std::time::Duration;

use unspool_sys::clock;

/// In nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Self {
        Self(clock::monotonic_ns())
    }

    pub(super) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// Zero if it came before.
    pub(super) fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}
