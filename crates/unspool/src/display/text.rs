//! Text of other people's: nothing of it is a command to the terminal.

use std::fmt::Write as _;

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

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most so many characters, the last one a sign that there are more.
pub(crate) fn clipped(text: &str, characters: usize) -> String {
    if text.chars().nth(characters).is_none() {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(characters.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(
            clean("a\x1b[31mb\r\n\u{9b}c\u{202e}d é"),
            "a\\u{1b}[31mb\\r\\n\\u{9b}c\\u{202e}d é"
        );
        assert_eq!(clean_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }

    #[test]
    fn what_is_too_long_is_clipped() {
        assert_eq!((clipped("äbc", 3), clipped("äbcd", 3)), ("äbc".into(), "äb…".into()));
    }
}
