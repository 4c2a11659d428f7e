//! The text of the record. A line for each pause, names and reasons escaped to printable ASCII without
//! blanks.

use unspool_core::Priority;

use super::{PAUSES_MAX, Pause, Pauses, Scope};
use crate::escape::{escape, unescape};

/// More than any record of ours.
pub(super) const BYTES_MAX: usize = 4 << 20;
const FIRST_LINE: &str = "unspool paused 1";

pub(super) fn encode(pauses: &Pauses) -> Vec<u8> {
    use std::fmt::Write;
    let mut text = format!("{FIRST_LINE}\n");
    for Pause { scope, by, at_ns, why } in pauses.iter() {
        let name = match scope {
            Scope::Spool | Scope::Folder(None) => String::new(),
            Scope::Folder(Some(priority)) => escape(priority.as_bytes()),
            Scope::Function(name) => escape(name),
        };
        let (kind, by, why) = (scope.kind(), escape(by.as_bytes()), escape(why.as_bytes()));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{kind} name={name} by={by} at={at_ns} why={why}");
    }
    // Tells a whole record from a cut one.
    text.push_str("end\n");
    text.into_bytes()
}

/// `None` for anything that [`encode`] does not write.
pub(super) fn parse(bytes: &[u8]) -> Option<Pauses> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix("end\n")?;
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let pauses = Pauses(lines.map(pause).collect::<Option<Vec<Pause>>>()?);
    (pauses.len() <= PAUSES_MAX && encode(&pauses) == bytes).then_some(pauses)
}

fn pause(line: &str) -> Option<Pause> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let mut field = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
    let name = unescape(field("name")?)?;
    let scope = match (kind, name.as_slice()) {
        ("spool", b"") => Scope::Spool,
        ("priority", b"") => Scope::Folder(None),
        ("priority", name) => Scope::Folder(Some(Priority::new(name).ok()?)),
        ("function", _) => Scope::Function(name),
        _ => return None,
    };
    let by = String::from_utf8(unescape(field("by")?)?).ok()?;
    let at_ns = field("at")?.parse().ok()?;
    let why = String::from_utf8(unescape(field("why")?)?).ok()?;
    Some(Pause { scope, by, at_ns, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses() -> Pauses {
        let pause = |scope, why: &str| Pause {
            scope,
            by: "root@web 1".to_owned(),
            at_ns: 1_795_417_858_508_096_000,
            why: why.to_owned(),
        };
        Pauses(vec![
            pause(Scope::Spool, "50% of\nthe mails\u{e4} = twice"),
            pause(Scope::Folder(None), ""),
            pause(Scope::Folder(Priority::new(b"a b").ok()), "x"),
            pause(Scope::Function(b"\xff f".to_vec()), "end"),
        ])
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&encode(&pauses())), Some(pauses()));
        assert_eq!(parse(&encode(&Pauses::default())), Some(Pauses::default()));
    }

    #[test]
    fn what_is_not_written_is_not_read() {
        let whole = String::from_utf8(encode(&pauses())).unwrap();
        for (ours, other) in [
            ("at=1", "at=+1"),
            ("%0a", "%0A"),
            ("\nend", "\r\nend"),
            ("spool", "Spool"),
            ("1\n", "2\n"),
        ] {
            let changed = whole.replacen(ours, other, 1);
            assert!(changed != whole && parse(changed.as_bytes()).is_none(), "{other}");
        }
        for bytes in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..bytes]), None, "{bytes} bytes");
        }
    }
}
