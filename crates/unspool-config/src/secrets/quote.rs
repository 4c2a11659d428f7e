//! Quotation marks and brackets in texts of any kind: where what they open ends. Knows no names.

/// A quotation mark, with the backslashes that a string within a string has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    mark: u8,
    backslashes: usize,
    /// Three of them: the string of a program.
    triple: bool,
}

pub(super) fn is_mark(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

fn backslashes_before(text: &[u8], at: usize) -> usize {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count()
}

impl Quote {
    /// That whose mark stands there.
    pub(super) fn at(text: &[u8], at: usize) -> Option<Self> {
        let mark = *text.get(at).filter(|byte| is_mark(**byte))?;
        let backslashes = backslashes_before(text, at);
        let triple = backslashes == 0 && text[at..].starts_with(&[mark; 3]);
        Some(Self { mark, backslashes, triple })
    }

    /// That which a value begins with, and where its inside begins: also of `b'...'` and `\"...\"`.
    pub(super) fn opening(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let letter = |byte: &u8| b"bBrRuUfF".contains(byte);
        let letters = text[at..].iter().take(3).take_while(|byte| letter(byte)).count();
        let slashes = text[at + letters..].iter().take_while(|byte| **byte == b'\\').count();
        let mark = at + letters + slashes;
        let quote = Self::at(text, mark).filter(|_| letters < 3)?;
        Some((quote, mark + if quote.triple { 3 } else { 1 }))
    }

    pub(super) fn backslashes(self) -> usize {
        self.backslashes
    }

    /// Whether the mark there is the other end of this one, as far as it alone can tell.
    pub(super) fn fits(self, other: Self) -> bool {
        self.mark == other.mark && self.backslashes == other.backslashes
    }

    /// Where the string ends that it opens: before a mark with as many backslashes, and not with those
    /// of one that stands in the string. Not found: at the end of the text.
    pub(super) fn end(self, text: &[u8], from: usize) -> usize {
        let turn = 2 * (self.backslashes + 1);
        let mut at = from;
        while let Some(next) = text[at..].iter().position(|byte| *byte == self.mark) {
            let here = at + next;
            at = here + 1;
            let before = backslashes_before(&text[from..], here - from);
            if before % turn != self.backslashes {
                continue;
            }
            if self.triple {
                if text[here..].starts_with(&[self.mark; 3]) {
                    return here;
                }
            } else if self.backslashes == 0 && text.get(at) == Some(&self.mark) {
                // Written twice: it stands in the string, as in SQL.
                at += 1;
            } else {
                return here - self.backslashes;
            }
        }
        text.len()
    }

    /// Behind the mark that closes it.
    pub(super) fn behind(self, text: &[u8], end: usize) -> usize {
        (end + self.backslashes + if self.triple { 3 } else { 1 }).min(text.len())
    }
}

/// Goes over a text and counts the brackets that are open.
#[derive(Debug, Default)]
pub(super) struct Depth(usize);

impl Depth {
    /// Whether a bracket is closed there that was open before.
    pub(super) fn closes(&mut self, byte: u8) -> bool {
        match byte {
            b'[' | b'{' | b'(' => self.0 += 1,
            b']' | b'}' | b')' if self.0 == 0 => return true,
            b']' | b'}' | b')' => self.0 -= 1,
            _ => {}
        }
        false
    }

    pub(super) fn is_flat(&self) -> bool {
        self.0 == 0
    }
}

/// Where a value of data ends that is no string: JSON's, or of what Python shows.
pub(super) fn data_end(text: &[u8], from: usize) -> usize {
    let mut depth = Depth::default();
    let mut at = from;
    while at < text.len() {
        let byte = text[at];
        if depth.closes(byte) || depth.is_flat() && matches!(byte, b',' | b'\n') {
            return at;
        }
        at = match Quote::at(text, at) {
            Some(quote) => {
                let inside = at + if quote.triple { 3 } else { 1 };
                quote.behind(text, quote.end(text, inside))
            }
            None => at + 1,
        };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_they_do() {
        for (text, inside) in [
            (r#""a, \"b" x"#, r#"a, \"b"#),
            (r"b'x\\' y", r"x\\"),
            ("'it''s' x", "it''s"),
            ("\"\"\"a\"b\"\"\" c", "a\"b"),
            (r#"\"a\\\"b\" c"#, r#"a\\\"b"#),
            ("'open", "open"),
            ("'' x", ""),
        ] {
            let (quote, from) = Quote::opening(text.as_bytes(), 0).unwrap();
            let end = quote.end(text.as_bytes(), from);
            assert_eq!(&text[from..end], inside, "{text}");
        }
        assert_eq!(Quote::opening(b"abc'", 0), None);
    }

    #[test]
    fn data_ends_behind_its_brackets() {
        for (text, end) in [("[1, \"]\", {\"a\": 2}], x", 18), ("5}", 1), ("[1, 2", 5), ("a\nb", 1)]
        {
            assert_eq!(data_end(text.as_bytes(), 0), end, "{text}");
        }
    }
}
