//! Names: which ones tell that their value is a secret. Judges names alone, and reads no text.

/// What a word may have anywhere in it.
const WITHIN: [&str; 5] = ["password", "passwd", "passphrase", "credential", "authorization"];
/// What it may end with, besides an `s` and digits.
const AT_END: [&str; 9] =
    ["secret", "token", "cookie", "passcode", "pwd", "pass", "key", "sessid", "sessionid"];
/// Words that end so and tell nothing.
const INNOCENT: [&str; 16] = [
    "passwordless",
    "compass",
    "encompass",
    "bypass",
    "trespass",
    "surpass",
    "overpass",
    "underpass",
    "monkey",
    "donkey",
    "turkey",
    "hockey",
    "jockey",
    "whiskey",
    "lackey",
    "hotkey",
];
/// Words that say a secret where nothing follows them but one of `FORMS`.
const LAST: [&str; 16] = [
    "auth",
    "bearer",
    "otp",
    "totp",
    "cred",
    "creds",
    "session",
    "signature",
    "sig",
    "hmac",
    "jwt",
    "csrf",
    "xsrf",
    "pass",
    "pin",
    "sid",
];
const FORMS: [&str; 9] = ["id", "value", "hash", "code", "data", "header", "string", "hex", "raw"];
/// What before `key` makes a word of databases of it.
const OPEN_KEYS: [&str; 8] =
    ["public", "primary", "foreign", "unique", "sort", "partition", "routing", "group"];
/// Whole names that prose and code use for what is no secret, too.
const COMMON: [&str; 10] =
    ["key", "keys", "pass", "auth", "session", "signature", "sig", "pin", "sid", "otp"];
/// How names of exceptions begin and end.
const ERROR_STARTS: [&str; 7] = ["invalid", "missing", "expired", "bad", "no", "unknown", "wrong"];
const ERROR_ENDS: [&str; 8] =
    ["error", "exception", "warning", "failure", "failed", "expired", "mismatch", "missing"];
/// Names of headers whose values have blanks, commas and marks in them.
const HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What a name tells of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    /// A secret where it looks like a key in data: prose says it, too.
    Common,
    Secret,
}

/// Whether a value of this name, of a variable, an option or a key, is better not shown.
pub fn is_secret_name(name: &str) -> bool {
    kind(name) != Kind::Open
}

pub(super) fn kind(name: &str) -> Kind {
    let words = words(name);
    if is_error(name, &words) || !(0..words.len()).any(|at| is_secret_word(&words, at)) {
        return Kind::Open;
    }
    match words.as_slice() {
        [only] if COMMON.contains(&only.as_str()) => Kind::Common,
        _ => Kind::Secret,
    }
}

/// Whether the name is a header's whose value goes on to the end of its line.
pub(super) fn is_header(name: &str) -> bool {
    HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

fn is_secret_word(words: &[String], at: usize) -> bool {
    let word = words[at].trim_end_matches(|c: char| c.is_ascii_digit());
    let single = word.strip_suffix('s').filter(|single| !single.ends_with('s')).unwrap_or(word);
    if INNOCENT.contains(&single) || INNOCENT.contains(&word) {
        return false;
    }
    if single == "key" && at > 0 && OPEN_KEYS.contains(&words[at - 1].as_str()) {
        return false;
    }
    let is_last = words.get(at + 1).is_none_or(|next| FORMS.contains(&next.as_str()));
    WITHIN.iter().any(|part| word.contains(part))
        || AT_END.iter().any(|end| single.ends_with(end) && (*end != "pass" || single != *end))
        || is_last && LAST.contains(&word)
}

/// The words of a name in small letters: `APIKey`, `api-key` and `api%5Bkey%5D` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = name.chars().peekable();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        if c == '%' {
            // A character of an address, written in hexadecimal digits.
            for _ in 0..2 {
                characters.next_if(char::is_ascii_hexdigit);
            }
        }
        let starts = c.is_uppercase()
            && (!before.is_uppercase()
                || characters.peek().is_some_and(|next| next.is_lowercase()));
        if (!c.is_alphanumeric() || starts) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether it is a class of exceptions: `jwt.InvalidToken`, `KeyError`.
fn is_error(name: &str, words: &[String]) -> bool {
    let class = name.rsplit('.').next().unwrap_or_default();
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase())
        && class.contains(|c: char| c.is_ascii_lowercase())
        && class.chars().all(|c| c.is_ascii_alphanumeric());
    let first = words.len().saturating_sub(self::words(class).len());
    is_class
        && words.len() > first + 1
        && (words.get(first).is_some_and(|word| ERROR_STARTS.contains(&word.as_str()))
            || words.last().is_some_and(|word| ERROR_ENDS.contains(&word.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: &str = "DB_PASSWORD secret-key API_KEY apikey AUTH_TOKEN AWS_CREDENTIALS pwd MYSQL_PWD \
        pass db_pass SSHPASS passwd auth REDISCLI_AUTH http-auth bearer otp X-Api-Key apiKey APIKey \
        api_keys Cookie session session_id sessionid PHPSESSID credential privateKey signature \
        X-Hub-Signature user%5Bpassword%5D password2 passwordHash PGPASSWORD csrfmiddlewaretoken \
        aws.secret.access.key KEY_ID authorization tokens";
    const OPEN: &str = "http-keepalive keyboard spooler monkeys-per-hour module monkey author authority \
        authors compass bypass tokenizer tokenize secretary passenger passing pass_count auth_type \
        sessions KeyError jwt.exceptions.InvalidTokenError InvalidToken primary_key public-key \
        passwordless cookiecutter design pinned - % é";

    #[test]
    fn names_tell_secrets() {
        for name in SECRETS.split_whitespace().chain(["private key"]) {
            assert!(is_secret_name(name), "{name}");
        }
        for name in OPEN.split_whitespace().chain([""]) {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
