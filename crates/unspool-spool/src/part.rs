//! A part of a task's id or of its file's name, as people type it.
//!
//! The name of a file of ours tells the first 12 and the last 8 digits of its id but for one bit, so that
//! a task is found by either end of its id without opening a million others.

use std::io;
use std::os::fd::AsFd;

use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{TaskId, peek};
use unspool_sys::file;

use crate::layout::{PREFIX, random_in, submitted_ns};
use crate::list::Listed;

/// The fewest characters that are taken for a part.
pub(crate) const CHARACTERS_MIN: usize = 4;
/// Digits of an id.
const DIGITS: usize = 32;
/// Digits at its start that tell the milliseconds.
const TIME_DIGITS: usize = 12;
/// Digits at its end that stand in the name.
const RANDOM_DIGITS: usize = 8;

/// A part of an id or of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As it was typed.
    text: Vec<u8>,
    /// The same as digits of an id, if it can be such.
    digits: Option<Digits>,
}

/// Digits of an id, and what they say of the names in which they may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digits {
    text: String,
    /// If an id starts with them: its milliseconds, without so many bits.
    time: (i64, u32),
    /// If an id ends with them: its last bits, and which of them are known from a name.
    random: (u32, u32),
}

impl Digits {
    fn new(text: String) -> Option<Self> {
        let known = text.len().min(TIME_DIGITS);
        let time = i64::from_str_radix(text.get(..known)?, 16).ok()?;
        let end = text.get(text.len().saturating_sub(RANDOM_DIGITS)..)?;
        let random = u32::from_str_radix(end, 16).ok()?;
        // The lowest bit is not in the name.
        let mask = (u32::MAX >> (32 - 4 * end.len() as u32)) & !1;
        Some(Self { time: (time, 4 * (TIME_DIGITS - known) as u32), random: (random, mask), text })
    }
}

/// One way in which a part may be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The beginning or the end of an id.
    End,
    /// Any digits of an id.
    Id,
    /// Any characters of a name.
    Name,
}

impl Part {
    /// `None` if it is too short, or can be in no name.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| *byte != 0 && *byte != b'/';
        if text.len() < CHARACTERS_MIN || !text.iter().all(plain) {
            return None;
        }
        let is_id = text.len() <= DIGITS && text.iter().all(u8::is_ascii_hexdigit);
        let digits = is_id.then(|| String::from_utf8_lossy(text).to_ascii_lowercase());
        Some(Self { text: text.to_vec(), digits: digits.and_then(Digits::new) })
    }

    /// The ways in which it may be meant, the likeliest first.
    pub(crate) fn passes(&self) -> &'static [Pass] {
        match &self.digits {
            // A whole id ends with itself.
            Some(digits) if digits.text.len() == DIGITS => &[Pass::End, Pass::Name],
            Some(_) => &[Pass::End, Pass::Id, Pass::Name],
            None => &[Pass::Name],
        }
    }

    /// Whether it can be a part of an id.
    pub fn is_digits(&self) -> bool {
        self.digits.is_some()
    }

    /// Whether the id of a task of this name, submitted then, may begin or end with it.
    pub fn may_be_end(&self, name: &[u8], submitted_ns: i64) -> bool {
        let Some(digits) = &self.digits else { return false };
        let (time, bits) = digits.time;
        let may_start = (submitted_ns / 1_000_000) >> bits == time;
        // A whole id has both ends, and the one costs no look at the name.
        if digits.text.len() == DIGITS {
            return may_start && may_end(name, digits);
        }
        may_start || may_end(name, digits)
    }

    /// Whether it is a part of this name.
    pub fn is_in(&self, name: &[u8]) -> bool {
        // What all names begin with tells none from another.
        let shared = if name.starts_with(PREFIX) { PREFIX.len() } else { 0 };
        let mut windows = name.windows(self.text.len()).enumerate();
        windows.any(|(at, window)| at + window.len() > shared && window == self.text)
    }

    /// Whether it means a file, in one way.
    ///
    /// # Errors
    /// The file may not be read, too, where that is needed.
    pub(crate) fn matches(&self, pass: Pass, file: &Listed) -> io::Result<bool> {
        let Some(known) = self.digits.as_ref().filter(|_| pass != Pass::Name) else {
            return Ok(pass == Pass::Name && self.is_in(file.name()));
        };
        let (name, digits) = (file.name(), known.text.as_str());
        match pass {
            Pass::End => {
                if !may_start(name, known) && !may_end(name, known) {
                    return Ok(false);
                }
                let id = match id_of(file) {
                    // A whole id is told by the name of a file of ours.
                    Err(error) if is_denied(&error) && tells_all(name, known) => return Ok(true),
                    id => id?.map(|id| id.to_string()),
                };
                Ok(id.is_some_and(|id| id.starts_with(digits) || id.ends_with(digits)))
            }
            Pass::Id => Ok(id_of(file)?.is_some_and(|id| id.to_string().contains(digits))),
            Pass::Name => Ok(self.is_in(name)),
        }
    }
}

/// Whether the id of a file of this name may start with these digits.
fn may_start(name: &[u8], digits: &Digits) -> bool {
    let (time, bits) = digits.time;
    submitted_ns(name).is_none_or(|at_ns| (at_ns / 1_000_000) >> bits == time)
}

/// Whether the id of a file of this name may end with these digits.
fn may_end(name: &[u8], digits: &Digits) -> bool {
    let (wanted, mask) = digits.random;
    random_in(name).is_none_or(|random| ((random << 1) ^ wanted) & mask == 0)
}

/// Whether the name of a file tells both ends of its id, which these digits have as a whole.
fn tells_all(name: &[u8], digits: &Digits) -> bool {
    let is_ours = submitted_ns(name).is_some() && random_in(name).is_some();
    let is_whole = digits.text.len() == DIGITS;
    is_ours && is_whole && may_start(name, digits) && may_end(name, digits)
}

pub(crate) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The id of a task; `None` if it has none, or is gone.
fn id_of(file: &Listed) -> io::Result<Option<TaskId>> {
    let Some(open) = file.open()? else { return Ok(None) };
    let mut head = [0u8; PEEK_BYTES];
    let got = file::read_at(open.as_fd(), &mut head, 0)?;
    Ok(peek(&head[..got]).and_then(|seen| seen.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"uwsgi_spoolfile_on_h_1_1_1431655765_1_234567";

    #[test]
    fn a_name_tells_both_ends_of_an_id() {
        // 1431655765 is 0x55555555: the id ends with aaaaaaaa or aaaaaaab.
        let digits = |text: &str| Digits::new(text.to_owned()).unwrap();
        let may_end = |name: &[u8], text: &str| may_end(name, &digits(text));
        let may_start = |name: &[u8], text: &str| may_start(name, &digits(text));
        for (digits, may) in [("aaaa", true), ("aaab", true), ("aaac", false)] {
            assert_eq!(may_end(NAME, digits), may, "{digits}");
        }
        assert!(may_end(NAME, "0123456789aaaaaaab") && !may_end(NAME, "baaaaaaa"));
        // 1234 ms since 1970.
        assert!(may_start(NAME, "0000") && may_start(NAME, "0000000004d2ffff"));
        assert!(!may_start(NAME, "0000000004d3"));
        assert!(may_end(b"uwsgi_spoolfile_on_x", "abcd") && may_start(b"x", "abcd"));
    }

    #[test]
    fn what_all_names_begin_with_is_part_of_none() {
        let is_in = |text: &[u8]| Part::parse(text).unwrap().is_in(NAME);
        for text in [&b"on_h_1"[..], b"h_1_1", NAME, b"_234567"] {
            assert!(is_in(text), "{}", text.escape_ascii());
        }
        assert!(!is_in(b"spoolfile") && !is_in(b"file_on_") && !is_in(b"x_1_1"));
    }

    #[test]
    fn what_can_be_no_id_is_a_part_of_a_name() {
        let passes = |text: &[u8]| Part::parse(text).map(|part| part.passes().len());
        assert_eq!(passes(b"12ab"), Some(3));
        assert_eq!(passes(&[b'a'; 32]), Some(2));
        assert_eq!(passes(b"web_12"), Some(1));
        assert_eq!(passes(&[b'a'; 33]), Some(1));
        assert_eq!(passes(b"12a"), None);
        assert_eq!(passes(b"12a\0"), None);
    }
}
