//! The text of the record. A line for each fact, names escaped to printable ASCII without blanks.

use super::{Adoption, RULES_MAX, Selection, Verdict};
use crate::escape::{escape, unescape};

/// More than any record of ours.
pub(super) const BYTES_MAX: usize = 1 << 20;
const FIRST_LINE: &str = "unspool adopted 1";

pub(super) fn encode(record: &Adoption) -> Vec<u8> {
    use std::fmt::Write;
    let mut text = format!(
        "{FIRST_LINE}\nsince {}\nordered {}\nage {}\ndefault {}\n",
        record.since_ns,
        if record.ordered { "yes" } else { "no" },
        record.age_ns,
        record.default.as_str()
    );
    for (which, verdict) in &record.rules {
        text.push_str(verdict.as_str());
        for (key, name) in [("folder", &which.folder), ("function", &which.function)] {
            if let Some(name) = name {
                // Writing into a String cannot fail.
                let _ = write!(text, " {key}={}", escape(name));
            }
        }
        text.push('\n');
    }
    // Tells a whole record from a cut one.
    text.push_str("end\n");
    text.into_bytes()
}

/// `None` for anything that [`encode`] does not write.
pub(super) fn parse(bytes: &[u8]) -> Option<Adoption> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix("\nend\n")?;
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let mut fact = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let since_ns = fact("since")?.parse().ok()?;
    let ordered = match fact("ordered")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let age_ns = fact("age")?.parse().ok()?;
    let default = verdict(fact("default")?)?;
    let mut rules = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let verdict = verdict(words.next()?)?;
        let mut which = Selection::default();
        for word in words {
            let (key, name) = word.split_once('=')?;
            match key {
                "folder" => which.folder = Some(unescape(name)?),
                "function" => which.function = Some(unescape(name)?),
                _ => return None,
            }
        }
        rules.push((which, verdict));
    }
    let record = Adoption { since_ns, ordered, age_ns, default, rules };
    (record.rules.len() <= RULES_MAX && encode(&record) == bytes).then_some(record)
}

fn verdict(word: &str) -> Option<Verdict> {
    [Verdict::Undecided, Verdict::Run, Verdict::Hold].into_iter().find(|v| v.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Adoption {
        let some = |name: &[u8]| Some(name.to_vec());
        Adoption {
            since_ns: 1_795_417_858_508_096_000,
            ordered: true,
            age_ns: 86_400_000_000_000,
            default: Verdict::Undecided,
            rules: vec![
                (Selection { folder: some(b"a b%\n\xff"), function: None }, Verdict::Run),
                (Selection { folder: some(b""), function: some(b"f") }, Verdict::Hold),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&encode(&record())), Some(record()));
    }

    #[test]
    fn what_is_not_written_is_not_read() {
        let whole = String::from_utf8(encode(&record())).unwrap();
        for (ours, other) in [("since 1", "since +1"), ("%0a", "%0A"), ("\nend", "\r\nend")] {
            let changed = whole.replacen(ours, other, 1);
            assert!(changed != whole && parse(changed.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_cut_record_is_no_record() {
        let whole = encode(&record());
        for bytes in 0..whole.len() {
            assert_eq!(parse(&whole[..bytes]), None, "{bytes} bytes");
        }
    }
}
