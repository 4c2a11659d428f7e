//! The last lines of the log, in memory, for whoever asks over a control socket. Whoever logs adds
//! one and never waits for a reader; a reader that is too slow finds a gap in the numbers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use unspool_sys::poll::Waker;

/// Lines that are kept.
const LINES_MAX: usize = 10_000;
/// Bytes of them.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one line: several fit into an answer. Whoever makes lines cuts what is longer.
pub const LINE_BYTES_MAX: usize = 32 * 1024;

/// The ring.
#[derive(Debug, Default)]
pub struct LineRing {
    lines: Mutex<Lines>,
    /// Somebody waits for the next line.
    awaited: AtomicBool,
    waker: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The number of the first one that is kept; the first of all is 0.
    first: u64,
}

/// What there is from a number on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinesAfter {
    /// The number of the first of them: more than was asked for if the rest is gone.
    pub first: u64,
    /// Lines.
    pub count: u64,
    /// They, each with its newline.
    pub text: Vec<u8>,
}

impl LineRing {
    /// Adds a line. One that is too long is left out, and its number with it.
    pub fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        if line.len() <= LINE_BYTES_MAX {
            lines.bytes += line.len();
            lines.kept.push_back(line.into());
        }
        while lines.kept.len() > LINES_MAX || lines.bytes > RING_BYTES_MAX {
            let gone = lines.kept.pop_front().map_or(0, |line| line.len());
            lines.bytes -= gone;
            lines.first += 1;
        }
        drop(lines);
        if self.awaited.load(Ordering::Relaxed)
            && self.awaited.swap(false, Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// The lines from a number on, of at most so many bytes.
    pub fn after(&self, from: u64, bytes_max: usize) -> LinesAfter {
        let lines = self.lock();
        let first = from.max(lines.first);
        let mut found = LinesAfter { first, count: 0, text: Vec::new() };
        let skip = usize::try_from(first - lines.first).unwrap_or(usize::MAX);
        for line in lines.kept.iter().skip(skip) {
            if found.text.len() + line.len() + 1 > bytes_max {
                break;
            }
            found.text.extend_from_slice(line);
            found.text.push(b'\n');
            found.count += 1;
        }
        found
    }

    /// Wakes this whenever a line comes that was awaited. Once.
    pub(crate) fn wakes(&self, waker: Waker) -> Option<&Waker> {
        let _ = self.waker.set(waker);
        self.waker.get()
    }

    /// Somebody waits for the next line. Whoever calls this looks once more: it may have come before.
    pub(crate) fn await_next(&self) {
        self.awaited.store(true, Ordering::SeqCst);
    }

    /// The wake-up was heard.
    pub(crate) fn woken(&self) {
        if let Some(waker) = self.waker.get() {
            waker.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_goes_and_leaves_a_gap() {
        let ring = LineRing::default();
        for number in 0..LINES_MAX + 5 {
            ring.push(number.to_string().as_bytes());
        }
        let found = ring.after(2, 12);
        assert_eq!((found.first, found.count), (5, 5));
        assert_eq!(found.text, b"5\n6\n7\n8\n9\n");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let ring = LineRing::default();
        let line = vec![b'x'; LINE_BYTES_MAX];
        let fit = RING_BYTES_MAX / LINE_BYTES_MAX;
        for _ in 0..fit + 3 {
            ring.push(&line);
        }
        ring.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(ring.after(0, usize::MAX).first, 3);
        assert_eq!(ring.after(0, usize::MAX).count, fit as u64);
    }

    #[test]
    fn who_waits_at_the_end_gets_what_comes() {
        let ring = LineRing::default();
        ring.push(b"a");
        assert_eq!(ring.after(1, 100).count, 0);
        ring.push(b"b");
        assert_eq!(ring.after(1, 100).text, b"b\n");
        // A number of the future, as of another daemon, is no gap.
        assert_eq!(ring.after(9, 100).first, 9);
    }
}
