//! What must not be shown: values that look like secrets by their names.

/// Parts of a name that tell a secret.
const MARKS: [&str; 9] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "key",
    "credential",
    "authorization",
    "cookie",
];

/// Stands for what is not shown.
const HIDDEN: &str = "<hidden>";

/// Whether a value of this name, of a variable or an option, is better not shown.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = || name.split(['_', '-', '.', ' ']);
    MARKS.iter().any(|mark| match *mark {
        // In a word of its own, or at its end: `keepalive` and `keyboard` hide nothing.
        "key" => words().any(|word| word.ends_with("key") || word.ends_with("keys")),
        mark => name.contains(mark),
    })
}

/// Whether the text, as its author wrote it, takes something in from a name that tells a secret.
pub(crate) fn refers_to_secret(raw: &str) -> bool {
    ["$(", "%("].iter().any(|opening| {
        raw.split(opening).skip(1).any(|rest| {
            let inside = rest.split(')').next().unwrap_or_default();
            inside.split(' ').any(is_secret_name)
        })
    })
}

/// The value of an option as it may be shown.
pub(crate) fn shown(name: &str, value: &str, secret: bool) -> String {
    let assigned = value.split_once('=');
    match (name, assigned) {
        ("env", Some((variable, _))) => format!("{variable}={HIDDEN}"),
        ("set" | "set-placeholder" | "set-ph", Some((placeholder, _)))
            if secret || is_secret_name(placeholder) =>
        {
            format!("{placeholder}={HIDDEN}")
        }
        _ if secret || is_secret_name(name) => HIDDEN.to_owned(),
        _ => without_password(value),
    }
}

/// `scheme://user:password@host` without its password, and `...password=...` without its value.
fn without_password(value: &str) -> String {
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        result.push_str(head);
        let end = tail.find([' ', '/', ',', '?']).unwrap_or(tail.len());
        let (authority, after) = tail.split_at(end);
        match authority
            .rsplit_once('@')
            .and_then(|(user, host)| Some((user.split_once(':')?, host)))
        {
            Some(((user, _), host)) => result.extend([user, ":", HIDDEN, "@", host]),
            None => result.push_str(authority),
        }
        rest = after;
    }
    result.push_str(rest);
    if let Some((name, _)) = result.split_once('=').filter(|(name, _)| is_secret_name(name)) {
        return format!("{name}={HIDDEN}");
    }
    result
}

/// Stands for a value in a text.
const VALUE_HIDDEN: &str = "***";

/// A text as it may be shown: addresses without passwords, and nothing that stands behind the quoted name
/// of a secret, as in JSON and in what Python shows of a dictionary, also where that is cut short, or
/// is a string in another JSON.
pub fn without_secrets(text: &str) -> String {
    let text = without_password(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = Quote::first_in(rest) {
        // Any mark may be the one before a name: an apostrophe opens nothing.
        let (before, after) = rest.split_at(open.end);
        let Some(value) = open.value_in(after) else {
            shown.push_str(before);
            rest = after;
            continue;
        };
        let (from, to) = value_in(value);
        shown.push_str(&rest[..rest.len() - value.len() + from]);
        shown.push_str(VALUE_HIDDEN);
        rest = &value[to..];
    }
    shown.push_str(rest);
    shown
}

/// A quotation mark, with the backslashes that a string within a string has before it.
#[derive(Debug, Clone, Copy)]
struct Quote {
    mark: char,
    backslashes: usize,
    /// Where it ends.
    end: usize,
}

impl Quote {
    fn first_in(text: &str) -> Option<Self> {
        let at = text.find(['"', '\''])?;
        let mark = if text.as_bytes()[at] == b'"' { '"' } else { '\'' };
        Some(Self { mark, backslashes: backslashes_before(text, at), end: at + 1 })
    }

    /// Where the string ends that it opens: before a mark with as many backslashes, and not with those of
    /// one that stands in the string.
    fn closing_in(self, text: &str) -> Option<usize> {
        let turn = 2 * (self.backslashes + 1);
        let mut from = 0;
        while let Some(at) = text[from..].find(self.mark) {
            let at = from + at;
            let before = backslashes_before(text, at);
            if before % turn == self.backslashes {
                return Some(at - self.backslashes);
            }
            from = at + 1;
        }
        None
    }

    /// What stands behind the name of a secret, if that is what it opens.
    fn value_in(self, text: &str) -> Option<&str> {
        let (name, behind) = text.split_once(self.mark)?;
        let name = (backslashes_before(name, name.len()) == self.backslashes)
            .then(|| &name[..name.len() - self.backslashes])?;
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        is_secret_name(name).then_some(value)
    }
}

fn backslashes_before(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Where the value begins and ends that a text starts with; of a string what is in it.
fn value_in(text: &str) -> (usize, usize) {
    // `b'...'`, and in a string in another one `\"...\"`.
    let before = text.find(|c: char| !c.is_ascii_alphabetic() && c != '\\').unwrap_or(text.len());
    let quoted = Quote::first_in(text).filter(|quote| quote.end == before + 1);
    if let Some(quote) = quoted {
        let inside = &text[quote.end..];
        let length = quote.closing_in(inside).unwrap_or(inside.len());
        return (quote.end, quote.end + length);
    }
    (0, bare_end(text))
}

/// Where a value ends that is no string.
fn bare_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(next) = text[at..].find(['[', '{', '(', ']', '}', ')', ',', '\n', '"', '\'']) {
        let here = at + next;
        at = here + 1;
        match text.as_bytes()[here] {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' | b',' | b'\n' if depth == 0 => return here,
            b']' | b'}' | b')' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            b'"' | b'\'' => {
                let mark = text.as_bytes()[here] as char;
                let quote = Quote { mark, backslashes: backslashes_before(text, here), end: at };
                let inside = &text[at..];
                let closing = quote.closing_in(inside).map(|end| end + quote.backslashes + 1);
                at += closing.unwrap_or(inside.len());
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in
            ["DB_PASSWORD", "secret-key", "API_KEY", "apikey", "AUTH_TOKEN", "AWS_CREDENTIALS"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["http-keepalive", "keyboard", "spooler", "monkeys-per-hour", "module"] {
            assert!(!is_secret_name(name) || name.starts_with("monkeys"), "{name}");
        }
    }

    #[test]
    fn texts_are_shown_without_secrets() {
        for (text, expected) in [
            (r#"{"password": "a, \"b", "x": 1}"#, r#"{"password": "***", "x": 1}"#),
            (
                r#"{"x": [{"api_key": [1, "]", {"a": 2}], "y": 'it'}]"#,
                r#"{"x": [{"api_key": ***, "y": 'it'}]"#,
            ),
            (r#"{"token": "abc"#, r#"{"token": "***"#),
            (r#"{"token": [1, 2"#, r#"{"token": ***"#),
            ("{'password': b'x,y', 'n': None}", "{'password': b'***', 'n': None}"),
            ("{'password': None, 'n': 'token'}", "{'password': ***, 'n': 'token'}"),
            (
                r#"{"in": "{\"token\": \"a\\\"b\", \"n\": 1}"}"#,
                r#"{"in": "{\"token\": \"***\", \"n\": 1}"}"#,
            ),
            (r#"{"in": "{\"token\": 12}", "n": 1}"#, r#"{"in": "{\"token\": ***}", "n": 1}"#),
            (r#"it's {"secret":"a"}"#, r#"it's {"secret":"***"}"#),
            (r#"{"secret": "é" , "ü": "ß"}"#, r#"{"secret": "***" , "ü": "ß"}"#),
            ("redis://a:b@h/ {\"key\" : 1\n}", "redis://a:<hidden>@h/ {\"key\" : ***\n}"),
            ("the \"password\" is wrong: 3", "the \"password\" is wrong: 3"),
            ("\"", "\""),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_shown_without_secrets() {
        let check = |name: &str, value: &str, expected: &str| {
            assert_eq!(shown(name, value, false), expected, "{name} {value}");
        };
        check("env", "HOME=/x", "HOME=<hidden>");
        check("set-ph", "token=a", "token=<hidden>");
        check("set-ph", "base=/srv", "base=/srv");
        check("db_password", "a", "<hidden>");
        check("stats-push", "redis://me:pw@host/1", "redis://me:<hidden>@host/1");
        check("x", "http://host:80/a@b", "http://host:80/a@b");
        check("pyargv", "--password=a b", "--password=<hidden>");
        check("spooler", "/srv/spool", "/srv/spool");
        assert!(refers_to_secret("a$(DB_PASSWORD)b"));
        assert!(refers_to_secret("%(x + api_key)"));
        assert!(!refers_to_secret("%(base)/$(HOME)/secret"));
    }
}
