//! What the log says of ticks: each one, unless a signal is raised so often that it would be all
//! that the log says. Then the lines of that signal are paced, and each counts those left out.

use std::collections::BTreeMap;

use crate::journal::journal;
use unspool_sys::clock;

/// Lines about one signal that may follow each other at once.
const BURST_LINES: u64 = 20;
/// One more line may follow after each such time.
const LINE_EVERY_NS: u64 = 1_000_000_000;

/// A tick that has ended.
pub(super) struct Tick {
    pub(super) signal: u8,
    /// The mule that handled it, if one did.
    pub(super) mule: Option<u32>,
    pub(super) pid: u32,
    pub(super) duration_ns: u64,
    /// The traceback, if the handler raised.
    pub(super) error: Option<String>,
}

/// The paces of all signals; what failed has one of its own, so that success never hides it.
#[derive(Debug, Default)]
pub(super) struct TickLog {
    paces: BTreeMap<(u8, bool), Pace>,
}

impl TickLog {
    /// Logs a tick, or counts it.
    pub(super) fn ended(&mut self, tick: &Tick) {
        let pace = self.paces.entry((tick.signal, tick.error.is_some())).or_default();
        let Some(left_out) = pace.line(clock::monotonic_ns()) else { return };
        let Tick { signal, mule, pid, duration_ns, error } = tick;
        let left_out = (left_out > 0).then_some(left_out);
        let ms = *duration_ns as f64 / 1e6;
        match error {
            None => journal!(TICK_DONE, signal, mule, pid, ms, left_out, "tick done"),
            Some(detail) => {
                journal!(TICK_FAILED, signal, mule, pid, ms, left_out, detail, "tick failed");
            }
        }
    }
}

/// A bucket of lines that fills with time, as the moment at which it is full.
#[derive(Debug, Default)]
struct Pace {
    full_at_ns: u64,
    left_out: u64,
}

impl Pace {
    /// How many were left out since the last line, if there may be one now.
    fn line(&mut self, now_ns: u64) -> Option<u64> {
        let full_at_ns = self.full_at_ns.max(now_ns) + LINE_EVERY_NS;
        if full_at_ns > now_ns + BURST_LINES * LINE_EVERY_NS {
            self.left_out += 1;
            return None;
        }
        self.full_at_ns = full_at_ns;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_line_each_second_and_none_goes_uncounted() {
        let mut pace = Pace::default();
        // A millisecond apart, for ten seconds.
        let lines: Vec<u64> = (0..10_000).filter_map(|n| pace.line(n * 1_000_000)).collect();
        assert_eq!(lines.len() as u64, BURST_LINES + 9);
        assert_eq!(lines.len() as u64 + lines.iter().sum::<u64>() + pace.left_out, 10_000);
    }

    #[test]
    fn one_each_second_is_always_told() {
        let mut pace = Pace::default();
        assert!((0..1000).all(|n| pace.line(n * LINE_EVERY_NS + n % 7) == Some(0)));
    }
}
