//! Priorities: sub-folders of a spool, and the order between them.

use std::cmp::Ordering;

use crate::limits::PRIORITY_BYTES_MAX;

/// Folders of a spool that are no priorities.
const RESERVED: [&[u8]; 3] = [b"dead", b"corrupt", b"results"];

/// A sub-folder of the spool whose tasks run before those without one.
///
/// Numbers come first, ascending by value (5 before 10), then other names by bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Priority(Vec<u8>);

/// The value of `priority` cannot name a folder of the spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`priority` is `{given}`, which {why}: give one plain folder name, such as `5` or `mail`, of \
     at most {PRIORITY_BYTES_MAX} bytes"
)]
pub struct InvalidPriority {
    /// What was given.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Priority {
    /// Checks a name. The empty name is not a priority; callers take it for "none".
    pub fn new(name: &[u8]) -> Result<Self, InvalidPriority> {
        let why = if name.is_empty() {
            "is empty"
        } else if name.contains(&b'/') {
            "contains a `/` and would leave the spool"
        } else if name.contains(&0) {
            "contains a NUL byte"
        } else if name.starts_with(b".") {
            "starts with a `.`"
        } else if name.len() > PRIORITY_BYTES_MAX {
            "is too long"
        } else if RESERVED.contains(&name) {
            "is a folder that the spool keeps for itself"
        } else if name.starts_with(b"uwsgi_spoolfile_on_") {
            "looks like a task file"
        } else {
            return Ok(Self(name.to_vec()));
        };
        Err(InvalidPriority { given: String::from_utf8_lossy(name).into_owned(), why })
    }

    /// The folder's name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digits without leading zeros, if the name is a number.
    fn number(&self) -> Option<&[u8]> {
        if !self.0.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let zeros = self.0.iter().take_while(|b| **b == b'0').count();
        Some(&self.0[zeros..])
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.number(), other.number()) {
            (Some(a), Some(b)) => {
                a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| self.0.cmp(&other.0))
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_first_by_value_then_names_by_bytes() {
        let mut names: Vec<Priority> =
            ["b", "10", "5", "B", "007", "7", "0", "100000000000000000000000"]
                .iter()
                .map(|n| Priority::new(n.as_bytes()).unwrap())
                .collect();
        names.sort();
        let sorted: Vec<&str> =
            names.iter().map(|p| std::str::from_utf8(p.as_bytes()).unwrap()).collect();
        assert_eq!(sorted, ["0", "5", "007", "7", "10", "100000000000000000000000", "B", "b"]);
    }

    #[test]
    fn names_that_leave_the_spool_are_refused() {
        let long = [b'x'; PRIORITY_BYTES_MAX + 1];
        for name in [
            &b""[..],
            b"..",
            ".".as_bytes(),
            b"../esc",
            b"a/b",
            b"/tmp",
            b"a\0b",
            b".unspool",
            b"dead",
            b"corrupt",
            b"results",
            b"uwsgi_spoolfile_on_x",
            &long,
        ] {
            assert!(Priority::new(name).is_err(), "{name:?}");
        }
        assert!(Priority::new(b"mail").is_ok());
    }
}
