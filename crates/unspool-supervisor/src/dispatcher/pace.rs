//! How many runs end in a second, lately.

use std::collections::VecDeque;

/// Counts that are kept, and the time between two.
const SAMPLES: usize = 30;
const SAMPLE_NS: u64 = 1_000_000_000;
/// A rate of less than this long says nothing.
const SPAN_NS_MIN: u64 = 200_000_000;

/// The count of ended runs at some moments of the last half minute in which something happened.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(u64, u64)>);

impl Pace {
    /// Notes how many runs have ended by now.
    pub(super) fn note(&mut self, ended: u64, now_ns: u64) {
        if self.0.back().is_some_and(|(at_ns, _)| now_ns.saturating_sub(*at_ns) < SAMPLE_NS) {
            return;
        }
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now_ns, ended));
    }

    /// Runs that ended in a second; `None` if none did lately.
    pub(super) fn per_second(&self, ended: u64, now_ns: u64) -> Option<f64> {
        let recent_ns = SAMPLES as u64 * SAMPLE_NS;
        let (at_ns, before) =
            self.0.iter().find(|(at_ns, _)| now_ns.saturating_sub(*at_ns) <= recent_ns)?;
        let span_ns = now_ns.saturating_sub(*at_ns);
        if span_ns < SPAN_NS_MIN || ended <= *before {
            return None;
        }
        Some((ended - before) as f64 * 1e9 / span_ns as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let second = SAMPLE_NS;
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(5, 0), None);
        pace.note(0, 0);
        pace.note(3, second / 2);
        assert_eq!(pace.per_second(40, second), Some(40.0));
        assert_eq!(pace.per_second(40, second / 10), None);
        // After an idle hour the burst alone counts.
        let hour = 3600 * second;
        pace.note(100, hour);
        assert_eq!(pace.per_second(300, hour + 2 * second), Some(100.0));
        assert_eq!(pace.per_second(100, hour + 2 * second), None);
        assert_eq!(pace.per_second(300, 2 * hour), None);
        (0..100).for_each(|n| pace.note(300 + n, 2 * hour + n * second));
        assert_eq!(pace.0.len(), SAMPLES);
    }
}
