//! JSON as commands print it: what a terminal would obey is written out in it, too.

use std::fmt::Write as _;

use serde_json::Value;

use super::text::is_obeyed;

/// A value as a line.
pub(crate) fn json_line(value: &Value) -> String {
    json_escaped(format!("{value}\n"))
}

/// A value as several lines, for people, too.
pub(crate) fn json_block(value: &Value) -> String {
    json_escaped(format!("{value:#}\n"))
}

/// JSON that is made already. In it such characters stand in texts alone, but for the ends of its lines.
pub(crate) fn json_escaped(json: String) -> String {
    let is_odd = |c: char| c != '\n' && is_obeyed(c);
    if !json.contains(is_odd) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_odd(c) {
            // All of them have four digits: none is beyond the first plane. Writing into a String cannot
            // fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_json_commands_a_terminal() {
        let odd: String = ('\0'..='\u{2100}').chain(['é', '漢', '😀']).collect();
        let value = json!({ &odd: [odd, 1] });
        for text in [json_line(&value), json_block(&value)] {
            assert!(text.chars().all(|c| c == '\n' || !is_obeyed(c)));
            assert!(
                text.contains("\\u009b") && text.contains("\\u007f") && text.contains("\\u202e")
            );
            assert!(text.contains("é漢😀") && text.ends_with("}\n"));
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
        assert_eq!(json_line(&json!("a")), "\"a\"\n");
    }
}
