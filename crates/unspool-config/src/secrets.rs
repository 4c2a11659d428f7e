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
pub fn without_password(value: &str) -> String {
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
