//! Text of other people's: nothing of it is a command to the terminal.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with whatever a terminal would obey written out: control characters, and those that turn
/// the direction of writing around.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut clean, c);
    }
    clean
}

/// The same of several lines: their ends and tabs stay.
pub(crate) fn clean_lines(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            _ => push(&mut clean, c),
        }
    }
    clean
}

fn push(text: &mut String, c: char) {
    match c {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        _ if is_obeyed(c) => {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
        }
        _ => text.push(c),
    }
}

/// Whether a terminal would obey it: control characters, marks of direction, ends of lines.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The columns of a terminal that it takes: some characters take two, others none.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// With blanks behind it, as wide as that.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// At most so many columns, the last one a sign that there are more.
pub(crate) fn clipped(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        clipped.push(c);
    }
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(
            clean("a\x1b[31mb\r\n\u{9b}c\u{202e}d\u{61c}\u{7f} é"),
            "a\\u{1b}[31mb\\r\\n\\u{9b}c\\u{202e}d\\u{61c}\\u{7f} é"
        );
        assert_eq!(clean_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }

    #[test]
    fn what_is_too_long_is_clipped() {
        assert_eq!((clipped("äbc", 3), clipped("äbcd", 3)), ("äbc".into(), "äb…".into()));
        // Two columns each, and one that takes none.
        assert_eq!((clipped("漢字", 4), clipped("漢字", 3)), ("漢字".into(), "漢…".into()));
        assert_eq!(
            (clipped("漢字x", 4), clipped("e\u{301}bc", 3)),
            ("漢…".into(), "e\u{301}bc".into())
        );
    }

    #[test]
    fn columns_are_counted_and_not_characters() {
        assert_eq!(["ab", "漢字", "😀", "e\u{301}", ""].map(width), [2, 4, 2, 1, 0]);
        assert_eq!((padded("漢", 4), padded("abc", 2)), ("漢  ".into(), "abc".into()));
    }
}
