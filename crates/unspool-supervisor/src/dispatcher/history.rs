//! How long functions take, so that short tasks are handed out ahead and long ones are not.

use std::collections::HashMap;

use unspool_core::limits::FUNCTIONS_MAX;

/// Durations by function.
#[derive(Debug, Default)]
pub(super) struct History {
    ids: HashMap<Vec<u8>, u32>,
    expected_ns: Vec<Option<u64>>,
}

impl History {
    /// The number of a function. Beyond the bound all functions share one number, whose duration
    /// stays unknown.
    pub(super) fn id(&mut self, function: &[u8]) -> u32 {
        if let Some(id) = self.ids.get(function) {
            return *id;
        }
        if self.ids.len() >= FUNCTIONS_MAX {
            return u32::MAX - 1;
        }
        let id = self.expected_ns.len() as u32;
        self.ids.insert(function.to_vec(), id);
        self.expected_ns.push(None);
        id
    }

    /// All functions by their numbers.
    pub(super) fn names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = vec![b""; self.expected_ns.len()];
        for (name, id) in &self.ids {
            names[*id as usize] = name;
        }
        names
    }

    /// The expected duration; `None` for a function that has not run.
    pub(super) fn expected_ns(&self, id: u32) -> Option<u64> {
        self.expected_ns.get(id as usize).copied().flatten()
    }

    /// Takes in a run. A longer one counts at once, a shorter one by a quarter.
    pub(super) fn record(&mut self, id: u32, duration_ns: u64) {
        let Some(expected) = self.expected_ns.get_mut(id as usize) else { return };
        *expected = Some(match *expected {
            Some(old) if duration_ns < old => old - (old - duration_ns) / 4,
            _ => duration_ns,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_counts_at_once_and_is_forgotten_slowly() {
        let mut history = History::default();
        let id = history.id(b"f");
        assert_eq!(history.expected_ns(id), None);
        history.record(id, 100);
        history.record(id, 1_000_000);
        assert_eq!(history.expected_ns(id), Some(1_000_000));
        history.record(id, 0);
        assert_eq!(history.expected_ns(id), Some(750_000));
        assert_eq!(history.id(b"f"), id);
        for n in 0..FUNCTIONS_MAX {
            history.id(n.to_string().as_bytes());
        }
        let crowd = history.id(b"one too many");
        history.record(crowd, 5);
        assert_eq!(history.expected_ns(crowd), None);
    }
}
