//! Texts as they may be shown: finds what stands behind the names of secrets, in whatever a text is:
//! JSON, what Python shows of values and calls, addresses, variables, headers, lines of a log.
//!
//! Goes over bytes once, from the left, and what looks at a byte twice is bounded. Where it is in doubt
//! it hides too much.

use super::names::{self, Kind};
use super::quote::{Depth, Quote, data_end, is_mark};

/// Stands for a value.
const HIDDEN: &[u8] = b"***";
/// Stands for the password of an address.
const PASSWORD_HIDDEN: &[u8] = b"<hidden>";
/// Bytes of a name; what is longer is none.
const NAME_BYTES_MAX: usize = 256;
/// Bytes in which the second of a pair ends, or counts as one that is cut off.
const PAIR_BYTES_MAX: usize = 4096;
/// Bytes in which an element of XML ends.
const ELEMENT_BYTES_MAX: usize = 64 * 1024;
/// Ways to authorize, before what authorizes.
const SCHEMES: [&[u8]; 6] = [b"bearer", b"basic", b"token", b"digest", b"negotiate", b"apikey"];
/// Bytes of what must stand behind `Bearer` to be no word of a sentence.
const CREDENTIAL_BYTES_MIN: usize = 16;

/// What is left of a text, or `None` if nothing had to go.
pub(super) fn hide(text: &[u8]) -> Option<Vec<u8>> {
    let mut scan = Scan { text, at: 0, copied: 0, shown: Vec::new() };
    while let Some(byte) = text.get(scan.at) {
        let found = if is_mark(*byte) {
            scan.quoted()
        } else if is_of_name(*byte) {
            scan.word()
        } else if text[scan.at..].starts_with(b"://") {
            scan.address()
        } else {
            None
        };
        match found {
            Some(found) => scan.replace(found),
            None if scan.at < text.len() && is_of_name(text[scan.at]) => {
                scan.at = name_end(text, scan.at);
            }
            None => scan.at += 1,
        }
    }
    (scan.copied > 0).then(|| {
        scan.shown.extend_from_slice(&text[scan.copied..]);
        scan.shown
    })
}

/// What is not shown, and what stands for it.
struct Found {
    from: usize,
    to: usize,
    by: &'static [u8],
}

impl Found {
    fn value(from: usize, to: usize) -> Option<Self> {
        (from < to).then_some(Self { from, to, by: HIDDEN })
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// What is before this is shown already.
    copied: usize,
    shown: Vec<u8>,
}

impl Scan<'_> {
    fn replace(&mut self, found: Found) {
        self.shown.extend_from_slice(&self.text[self.copied..found.from]);
        self.shown.extend_from_slice(found.by);
        self.copied = found.to;
        self.at = found.to;
    }

    /// `"name": value`, `["name"] = value` and `("name", value)`. Any mark may be the one before a name:
    /// an apostrophe opens nothing.
    fn quoted(&self) -> Option<Found> {
        let (text, from) = (self.text, self.at + 1);
        let quote = Quote::at(text, self.at)?;
        let most = text.len().min(from + NAME_BYTES_MAX);
        let length = text[from..most].iter().position(|byte| *byte == text[self.at])?;
        Quote::at(text, from + length).filter(|other| quote.fits(*other))?;
        let end = from + length - quote.backslashes().min(length);
        let name = unescaped(&text[from..end]);
        if names::kind(&name) == Kind::Open {
            return None;
        }
        let behind = from + length + 1;
        let (sign, mut next) =
            sign(text, if text.get(behind) == Some(&b']') { behind + 1 } else { behind });
        if sign == Sign::None {
            next = skip_blanks(text, behind);
            if text.get(next) != Some(&b',') || name.contains(['=', ':']) {
                return None;
            }
            let value = skip_space(text, next + 1);
            return self.second(value, name.starts_with("--"));
        }
        value(text, skip_space(text, next), data_end)
    }

    /// The second of a pair whose first is a name, or what follows an option.
    fn second(&self, from: usize, of_option: bool) -> Option<Found> {
        let text = self.text;
        let letters = text[..self.at].iter().rev().take(2).take_while(|b| b"bBuU\\".contains(b));
        let before = self.at.checked_sub(letters.count() + 1);
        let opens = before.is_some_and(|at| matches!(text[at], b'(' | b'['));
        let is_option = of_option && text.get(from).is_some_and(|byte| *byte != b'-');
        if !opens && !is_option {
            return None;
        }
        let window = &text[..text.len().min(from.saturating_add(PAIR_BYTES_MAX))];
        let found = value(window, from, data_end)?;
        if found.to == window.len() {
            // Too long to be looked through again and again: all of it goes.
            return value(text, from, data_end);
        }
        if is_option {
            return (text.get(found.from) != Some(&b'-')).then_some(found);
        }
        let mut behind = found.to;
        while text.get(behind).is_some_and(|byte| is_mark(*byte) || *byte == b'\\') {
            behind += 1;
        }
        let behind = skip_space(text, behind);
        let behind =
            if text.get(behind) == Some(&b',') { skip_space(text, behind + 1) } else { behind };
        let closes = matches!(text.get(behind), None | Some(b')' | b']'));
        closes.then_some(found)
    }

    /// `name=value`, `name: value`, `--name value` and `Bearer value`.
    fn word(&self) -> Option<Found> {
        let (text, from) = (self.text, self.at);
        let end = name_end(text, from);
        let word = &text[from..end];
        if let Some(found) = credential(text, from, end).or_else(|| private_key(text, from, end)) {
            return Some(found);
        }
        if let Some(value) = element(text, from, end) {
            return Some(value);
        }
        let in_brackets = text.get(end) == Some(&b']') && from > 0 && text[from - 1] == b'[';
        let (sign, next) = sign(text, if in_brackets { end + 1 } else { end });
        let is_option = word.starts_with(b"--") && text.get(end) == Some(&b' ');
        if (sign == Sign::None && !is_option) || word.len() > NAME_BYTES_MAX {
            return None;
        }
        // In what Python shows of a text, `\n` may stand before the name.
        let escaped = from > 0 && text[from - 1] == b'\\' && matches!(word[0], b'n' | b'r' | b't');
        let name = String::from_utf8_lossy(if escaped { &word[1..] } else { word });
        let kind = names::kind(&name);
        if kind == Kind::Open {
            return None;
        }
        let is_first = from == 0 || text[from - 1] == b'\n';
        let opened = from.checked_sub(1).and_then(|at| Quote::at(text, at));
        let place = Place { is_first, escaped, opened, is_header: names::is_header(&name) };
        if sign == Sign::None {
            return (text.get(end + 1) != Some(&b'-'))
                .then(|| place.value(text, end + 1, false))?;
        }
        let from_value = skip_blanks(text, next);
        let spaced = from_value > next || text[end] == b' ';
        if kind == Kind::Common && !self.means_secret(&name, sign, spaced) {
            return None;
        }
        if sign == Sign::Colon && !spaced && text.get(next).is_none_or(|byte| !is_of_value(*byte)) {
            return None;
        }
        place.value(text, from_value, sign == Sign::Colon)
    }

    /// Whether a name is meant so that prose and code use otherwise, too.
    fn means_secret(&self, name: &str, sign: Sign, spaced: bool) -> bool {
        let is_constant = !name.contains(|c: char| c.is_lowercase());
        match name.to_ascii_lowercase().as_str() {
            _ if is_constant => sign == Sign::Equals && !spaced,
            "key" | "keys" => {
                let before = self.at.checked_sub(1).map(|at| self.text[at]);
                sign == Sign::Equals && !spaced && matches!(before, Some(b'?' | b'&' | b';'))
            }
            "session" | "signature" | "sig" => sign == Sign::Equals && !spaced,
            _ => (sign == Sign::Equals) != spaced,
        }
    }

    /// `scheme://user:password@host`.
    fn address(&mut self) -> Option<Found> {
        let text = self.text;
        let from = self.at + 3;
        self.at = from - 1;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\\\"'".contains(byte);
        let end = text[from..].iter().position(ends).map_or(text.len(), |length| from + length);
        let host = from + text[from..end].iter().rposition(|byte| *byte == b'@')?;
        let colon = from + text[from..host].iter().position(|byte| *byte == b':')?;
        Some(Found { from: colon + 1, to: host, by: PASSWORD_HIDDEN })
    }
}

/// What stands between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    Equals,
    Colon,
}

/// The sign behind a name, and where what follows it begins.
fn sign(text: &[u8], from: usize) -> (Sign, usize) {
    let at = skip_blanks(text, from);
    match &text[at.min(text.len())..] {
        [b'=', b'>', ..] | [b':', b'=', ..] => (Sign::Equals, at + 2),
        [b'=', b'=' | b'~', ..] | [b':', b':', ..] | [b':', b'/', b'/', ..] => (Sign::None, at),
        [b'=', ..] => (Sign::Equals, at + 1),
        [b':', ..] => (Sign::Colon, at + 1),
        _ => (Sign::None, at),
    }
}

/// Where a bare name stands.
struct Place {
    /// At the begin of a line.
    is_first: bool,
    /// At that of a line of a text that is shown with escapes.
    escaped: bool,
    /// Behind a mark that closes what follows.
    opened: Option<Quote>,
    is_header: bool,
}

impl Place {
    fn value(&self, text: &[u8], from: usize, is_prose: bool) -> Option<Found> {
        let quote = Quote::opening(text, from);
        if let (Some(opened), Some((quote, _))) = (self.opened, quote)
            && opened.fits(quote)
        {
            // It closes what stands around the name: there is no value.
            return None;
        }
        value(text, from, |text, from| {
            let end = self.end(text, from, is_prose);
            // Backslashes belong to the mark that they stand before.
            let marked = text.get(end).is_some_and(|byte| is_mark(*byte));
            let slashes = text[from..end].iter().rev().take_while(|byte| **byte == b'\\').count();
            if marked { end - slashes } else { end }
        })
    }

    fn end(&self, text: &[u8], from: usize, is_prose: bool) -> usize {
        let is_in_text = self.escaped || self.opened.is_some();
        let is_wide = self.is_first || is_in_text;
        let mut depth = Depth::default();
        let mut at = scheme_end(text, from);
        while let Some(byte) = text.get(at) {
            let ends = match byte {
                b'\n' | b'\r' => true,
                b'\\' if is_in_text && is_line_end(text, at) => true,
                mark if is_mark(*mark) => match (self.opened, Quote::at(text, at)) {
                    (Some(opened), Some(quote)) => opened.fits(quote),
                    _ => !self.is_first && !is_apostrophe(text, at),
                },
                _ if self.is_header => false,
                byte if depth.closes(*byte) => !is_wide,
                _ if !depth.is_flat() => false,
                b' ' | b'\t' if is_prose => is_name_next(text, at),
                b' ' | b'\t' | b'&' | b';' | b',' => !is_wide || is_name_next(text, at),
                _ => false,
            };
            if ends {
                return at;
            }
            at += 1;
        }
        text.len()
    }
}

/// A value, of a string what is in it.
fn value(text: &[u8], from: usize, end: impl Fn(&[u8], usize) -> usize) -> Option<Found> {
    if let Some((quote, inside)) = Quote::opening(text, from) {
        let end = quote.end(text, inside);
        return Some(Found { from: inside, to: end, by: HIDDEN });
    }
    let end = end(text, from);
    let blanks =
        text[from..end].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Found::value(from, end - blanks)
}

/// Behind the word that says how the next one authorizes.
fn scheme_end(text: &[u8], from: usize) -> usize {
    let end = name_end(text, from);
    let word = text[from..end].to_ascii_lowercase();
    let is_scheme = text.get(end) == Some(&b' ') && SCHEMES.contains(&word.as_slice());
    if is_scheme { skip_blanks(text, end) } else { from }
}

/// `Bearer` and what authorizes, wherever it stands.
fn credential(text: &[u8], from: usize, end: usize) -> Option<Found> {
    if !text[from..end].eq_ignore_ascii_case(b"bearer") || text.get(end) != Some(&b' ') {
        return None;
    }
    let from = skip_blanks(text, end);
    let is_of = |byte: &u8| is_of_name(*byte) || b"~+/=".contains(byte);
    let length = text[from..].iter().take_while(|byte| is_of(byte)).count();
    let word = &text[from..from + length];
    let is_one = length >= CREDENTIAL_BYTES_MIN || word.iter().any(u8::is_ascii_digit);
    is_one.then(|| Found::value(from, from + length))?
}

/// What stands in the element of XML whose name stands there.
fn element(text: &[u8], from: usize, end: usize) -> Option<Found> {
    if from == 0 || text[from - 1] != b'<' || text.get(end) != Some(&b'>') {
        return None;
    }
    let length = text[end..].iter().take(ELEMENT_BYTES_MAX).position(|byte| *byte == b'<')?;
    let is_closed = text[end + length..].starts_with(b"</");
    let name = String::from_utf8_lossy(&text[from..end]);
    let is_secret = is_closed && names::kind(&name) != Kind::Open;
    is_secret.then(|| Found::value(end + 1, end + length))?
}

/// What stands between the lines around a private key.
fn private_key(text: &[u8], from: usize, end: usize) -> Option<Found> {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    if !text[from..end].ends_with(b"-----BEGIN") {
        return None;
    }
    let head = &text[end..text.len().min(end + 40)];
    let from = end + head.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let length = text[from..].windows(8).position(|part| part == b"-----END");
    Found::value(from, length.map_or(text.len(), |length| from + length))
}

/// Whether the blank or sign there stands before the next name and its sign.
fn is_name_next(text: &[u8], at: usize) -> bool {
    if text[at] != b',' && matches!(text.get(at + 1), Some(b' ' | b'\t')) {
        // The last of many blanks decides, so that they are not gone over for each.
        return false;
    }
    let from = skip_blanks(text, at + 1);
    let most = text.len().min(from + NAME_BYTES_MAX);
    let end = name_end(&text[..most], from.min(most));
    end > from && matches!(text.get(end), Some(b'=' | b':'))
}

/// Whether `\n` stands there.
fn is_line_end(text: &[u8], at: usize) -> bool {
    text[at - 1] != b'\\' && matches!(text.get(at + 1), Some(b'n' | b'r'))
}

fn is_apostrophe(text: &[u8], at: usize) -> bool {
    let is_letter =
        |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    text[at] == b'\'' && is_letter(at.checked_sub(1)) && is_letter(Some(at + 1))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b'%')
}

fn is_of_value(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b')' | b']' | b'}' | b',' | b';')
}

fn name_end(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take_while(|byte| is_of_name(**byte)).count()
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    from + text[from.min(text.len())..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

fn skip_space(text: &[u8], from: usize) -> usize {
    from + text[from.min(text.len())..].iter().take_while(|b| b.is_ascii_whitespace()).count()
}

/// A name without the escapes of JSON in it.
fn unescaped(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut parts = text.split("\\u");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                result.truncate(result.trim_end_matches('\\').len());
                result.push(c);
                result.push_str(&part[4..]);
            }
            None => result.push_str(part),
        }
    }
    result
}
