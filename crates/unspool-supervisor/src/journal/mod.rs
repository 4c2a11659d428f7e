//! The journal: what the daemon tells of, one list of kinds of events and the last lines of the log.
//!
//! A kind has a name that stays, a level, and the fields that it may have; `docs/reference/events.md`
//! is for those who read them. The words of a line belong to the place that reports. Where lines go,
//! and how they look, the binary decides.

mod kinds;
mod ring;

use tracing::Level;

pub use kinds::*;
pub use ring::{LINE_BYTES_MAX, LineRing, LinesAfter};

/// A kind of event.
#[derive(Debug, Clone, Copy)]
pub struct EventKind {
    /// Its name, as `task.failed`.
    pub name: &'static str,
    /// How much it matters. Those below INFO are off by default.
    pub level: Level,
    /// The fields that it may have, in the log's words.
    pub fields: &'static [&'static str],
}

impl EventKind {
    /// Whether it may have a field.
    #[must_use]
    pub const fn has(&self, field: &str) -> bool {
        let mut at = 0;
        while at < self.fields.len() {
            if equal(self.fields[at].as_bytes(), field.as_bytes()) {
                return true;
            }
            at += 1;
        }
        false
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Reports an event: a kind, its fields and its words, as for the macros of `tracing`. Costs nothing
/// if its level is off: fields are not evaluated then. A field that the kind does not declare is an
/// error of the compiler.
macro_rules! journal {
    ($kind:ident, $($rest:tt)+) => {{
        const KIND: $crate::journal::EventKind = $crate::journal::$kind;
        $crate::journal::declared!($($rest)+);
        tracing::event!(name: KIND.name, KIND.level, $($rest)+);
    }};
}

/// Holds the fields of an event against its kind.
macro_rules! declared {
    ($text:literal $($rest:tt)*) => {};
    (% $field:ident, $($rest:tt)+) => { $crate::journal::declared!(@field $field, $($rest)+); };
    (? $field:ident, $($rest:tt)+) => { $crate::journal::declared!(@field $field, $($rest)+); };
    ($field:ident, $($rest:tt)+) => { $crate::journal::declared!(@field $field, $($rest)+); };
    ($field:ident = $($rest:tt)+) => {
        const _: () = assert!(KIND.has(stringify!($field)), "the kind has no such field");
        $crate::journal::declared!(@value $($rest)+);
    };
    (@field $field:ident, $($rest:tt)+) => {
        const _: () = assert!(KIND.has(stringify!($field)), "the kind has no such field");
        $crate::journal::declared!($($rest)+);
    };
    (@value , $($rest:tt)+) => { $crate::journal::declared!($($rest)+); };
    (@value $part:tt $($rest:tt)+) => { $crate::journal::declared!(@value $($rest)+); };
}

pub(crate) use {declared, journal};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_one_form() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for name in names {
            let (subject, what) = name.split_once('.').unwrap();
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain(subject) && plain(what), "{name}");
        }
    }

    #[test]
    fn a_kind_has_what_it_declares() {
        assert!(TASK_FAILED.has("task") && TASK_FAILED.has("detail"));
        assert!(!TASK_FAILED.has("tas") && !TASK_FAILED.has("body"));
    }
}
