//! Delays between tries to start something that keeps failing.

use std::time::Duration;

/// A delay that doubles with each failure in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

const FIRST_MS: u64 = 100;
const LAST_MS: u64 = 30_000;

impl Backoff {
    /// The delay before the next try: none after the first failure in a row.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis((FIRST_MS << (n - 2).min(20)).min(LAST_MS)),
        }
    }

    /// It works: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_limit_and_start_again() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..5).map(|_| backoff.failed().as_millis() as u64).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800]);
        for _ in 0..100 {
            assert!(backoff.failed() <= Duration::from_millis(LAST_MS));
        }
        backoff.reset();
        assert_eq!(backoff.failed(), Duration::ZERO);
    }
}
