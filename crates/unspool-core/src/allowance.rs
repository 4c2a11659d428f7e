//! How many lines are logged of others' mistakes: a few in a while, whatever they do.

/// Lines within each span; what is beyond is counted.
const LINES_MAX: u32 = 20;
const SPAN_NS: u64 = 10_000_000_000;

/// What is left of the lines of this span.
#[derive(Debug, Default)]
pub struct Allowance {
    since_ns: Option<u64>,
    lines: u32,
    left_out: u64,
}

/// Whether one more line may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// It may.
    pub is_left: bool,
    /// So many were left out in the span before, which is to be said first; 0: nothing is.
    pub left_out: u64,
}

impl Allowance {
    /// Takes room for a line. `now_ns` is of a clock that does not go back.
    pub fn take(&mut self, now_ns: u64) -> Room {
        let mut left_out = 0;
        if self.since_ns.is_none_or(|since_ns| now_ns.saturating_sub(since_ns) >= SPAN_NS) {
            left_out = self.left_out;
            *self = Self { since_ns: Some(now_ns), ..Self::default() };
        }
        self.lines = self.lines.saturating_add(1);
        let is_left = self.lines <= LINES_MAX;
        self.left_out += u64::from(!is_left);
        Room { is_left, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_in_each_span_and_the_rest_is_counted() {
        let mut allowance = Allowance::default();
        for line in 0..50 {
            let room = allowance.take(7);
            assert_eq!(room, Room { is_left: line < LINES_MAX, left_out: 0 }, "line {line}");
        }
        // Threads may have looked at the clock in another order.
        assert!(!allowance.take(0).is_left);
        assert!(!allowance.take(6 + SPAN_NS).is_left);
        assert_eq!(allowance.take(7 + SPAN_NS), Room { is_left: true, left_out: 32 });
        assert_eq!(allowance.take(8 + SPAN_NS), Room { is_left: true, left_out: 0 });
    }
}
