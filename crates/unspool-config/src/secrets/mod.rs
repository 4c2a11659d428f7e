//! What must not be shown: values that look like secrets by their names.

mod names;
mod quote;
mod text;

pub use self::names::is_secret_name;

/// Stands for what is not shown of an option.
const HIDDEN: &str = "<hidden>";
/// How often a text is gone over: what was hidden may bring to light what had been part of it.
const TURNS_MAX: usize = 8;

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
        _ => match value.split_once('=') {
            Some((name, _)) if is_secret_name(name) => format!("{name}={HIDDEN}"),
            _ => without_secrets(value),
        },
    }
}

/// A text as it may be shown: addresses without passwords, and nothing that stands behind the name of a
/// secret, in JSON, in what Python shows, in variables, headers and lines of a log, also where that is cut
/// short or is a string in another one.
pub fn without_secrets(text: &str) -> String {
    match hide(text.as_bytes()) {
        // Only whole characters go.
        Some(shown) => String::from_utf8_lossy(&shown).into_owned(),
        None => text.to_owned(),
    }
}

/// The same of bytes of any kind.
pub fn bytes_without_secrets(bytes: &[u8]) -> Vec<u8> {
    hide(bytes).unwrap_or_else(|| bytes.to_vec())
}

fn hide(text: &[u8]) -> Option<Vec<u8>> {
    let mut shown = text::hide(text)?;
    for _ in 1..TURNS_MAX {
        match text::hide(&shown) {
            Some(next) if next != shown => shown = next,
            _ => break,
        }
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            // Pairs.
            (r#"("Authorization", "x y")"#, r#"("Authorization", "***")"#),
            (r#"[["password","x"],["n",1]]"#, r#"[["password","***"],["n",1]]"#),
            ("[(b'x-api-key', b'abc'), ('a', 1)]", "[(b'x-api-key', b'***'), ('a', 1)]"),
            ("('token', 12)", "('token', ***)"),
            ("('token', 'abc", "('token', '***"),
            (r#"["name", "password", "email"]"#, r#"["name", "password", "email"]"#),
            (r#"["mysql", "--password", "x", "-v"]"#, r#"["mysql", "--password", "***", "-v"]"#),
            // Variables, queries and calls.
            ("A=1\nDB_PASSWORD=a b\nB=2", "A=1\nDB_PASSWORD=***\nB=2"),
            (r#"["A=1", "DB_PASSWORD=a b", "B=2"]"#, r#"["A=1", "DB_PASSWORD=***", "B=2"]"#),
            ("https://h/p?a=1&token=x&b=2#f", "https://h/p?a=1&token=***&b=2#f"),
            ("/p?key=AIza&a=1", "/p?key=***&a=1"),
            ("host=db password=x y=1", "host=db password=*** y=1"),
            ("password=x host=db", "password=*** host=db"),
            ("Server=h;Uid=me;Pwd=ab;Db=x", "Server=h;Uid=me;Pwd=***;Db=x"),
            ("user[password]=x&user[name]=y", "user[password]=***&user[name]=y"),
            ("run --password hunter2 -v", "run --password *** -v"),
            ("f(1, password='a b', n=2)", "f(1, password='***', n=2)"),
            ("f(token=g(1, 2), n=2)", "f(token=***, n=2)"),
            ("where password = 'it''s' and n = 1", "where password = '***' and n = 1"),
            ("password = \"\"\"a\"b\"\"\" # x", "password = \"\"\"***\"\"\" # x"),
            (r#"x["token"] = "abc""#, r#"x["token"] = "***""#),
            (r"'a=1\ntoken=abc def\nb=2'", r"'a=1\ntoken=***\nb=2'"),
            (r#"{"x": "token=abc", "n": 1}"#, r#"{"x": "token=***", "n": 1}"#),
            ("['token=', 'x']", "['token=', 'x']"),
            // Headers, addresses and lines of a log.
            ("Authorization: Bearer abc def\nHost: h", "Authorization: ***\nHost: h"),
            ("curl -H 'Cookie: a=b; c=d' -v", "curl -H 'Cookie: ***' -v"),
            ("got Bearer abcdefghijklmnop, no", "got Bearer ***, no"),
            ("failed: password: abc, user: bob", "failed: password: ***, user: bob"),
            ("ValueError: no token: abc", "ValueError: no token: ***"),
            ("postgres://u:p:w@h/http://x:1@2/", "postgres://u:<hidden>@h/http://x:<hidden>@2/"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n",
                "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\n",
            ),
            ("<a><password>x y</password><b>1</b></a>", "<a><password>***</password><b>1</b></a>"),
            ("usage: x <token> <file>", "usage: x <token> <file>"),
            (r#"{"\u0070assword": "x"}"#, r#"{"\u0070assword": "***"}"#),
            ("{\"token\": \"a\",\n \"b\": 1}", "{\"token\": \"***\",\n \"b\": 1}"),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn what_tells_no_secret_stays() {
        for text in [
            "SELECT a FROM t WHERE key = 1",
            "sorted(monkeys, key=lambda m: m.age)",
            "KeyError: 'user_id'",
            "jwt.exceptions.InvalidTokenError: Not enough segments",
            "keyboard: us, author: me, compass=north, tokenizer: x",
            "if token == other: pass",
            "for key in keys: print(key)",
            "duplicate key: 5",
            "FATAL: password authentication failed for user \"bob\"",
            "the token is wrong, the bearer of this letter is not",
            "http://host:80/a@b?x=1#c",
            "Session closed; session: gone",
            "std::token::Token x",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    #[test]
    fn bytes_need_not_be_text() {
        for (bytes, shown) in [
            (&b"\xff\x00token=abc\xff&x=1"[..], &b"\xff\x00token=***&x=1"[..]),
            (b"{'password': b'\xfe\xff', 'n': 1}", b"{'password': b'***', 'n': 1}"),
            (b"\x80\xff", b"\x80\xff"),
        ] {
            assert_eq!(bytes_without_secrets(bytes), shown);
        }
    }

    /// Pieces of which texts are made that look like what is read here.
    const PIECES: &str = r#"(password|token|key|Authorization|--pass|x|name|Bearer|basic|it|\PC|[a-z]{1,3}|[0-9]|=|:|: |, |,|;|&|\?|'|"|\\|\\\\|\(|\)|\[|\]|\{|\}| |
|	|://|@|/|\*\*\*|b'|\\"|-----BEGIN|PRIVATE KEY-----|-----END|\\n|%5B|<|>|'''|\\u0070)"#;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_text_is_shown_and_twice_the_same(
            pieces in proptest::collection::vec(PIECES, 0..40)
        ) {
            let text = pieces.concat();
            let shown = without_secrets(&text);
            prop_assert_eq!(&without_secrets(&shown), &shown, "{}", text);
            prop_assert_eq!(bytes_without_secrets(text.as_bytes()), shown.into_bytes());
        }

        #[test]
        fn any_bytes_are_shown(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = bytes_without_secrets(&bytes);
            prop_assert_eq!(bytes_without_secrets(&shown), shown.clone());
        }

        /// Without `h`, `k`, `o`, `p`, `r`, `s`, `t` and `u` no such name can be written.
        #[test]
        fn a_text_without_such_names_stays(
            text in r#"([a-gijl-nqv-z =:,;'"()\[\]{}&?\\
    ]|é|-|[0-9])*"#
        ) {
            prop_assert_eq!(without_secrets(&text), text);
        }

        #[test]
        fn a_value_never_shows(
            name in "(DB_PASSWORD|api_key|token|X-Auth-Token|passwd|client_secret)",
            value in "Q[A-Z0-9+.]{5,20}Q",
            form in 0_usize..10,
        ) {
            let text = match form {
                0 => format!("{{\"a\": 1, \"{name}\": \"{value}\", \"b\": 2}}"),
                1 => format!("{{'{name}': b'{value}'}}"),
                2 => format!("[('{name}', '{value}')]"),
                3 => format!("[\"{name}\", \"{value}\"]"),
                4 => format!("a=1&{name}={value}&b=2"),
                5 => format!("x {name}: {value} y"),
                6 => format!("{{\"a\": \"{{\\\"{name}\\\": \\\"{value}\\\"}}\"}}"),
                7 => format!("f({name}={value}, x=1)"),
                8 => format!("['A=1', '{name}={value}']"),
                _ => format!("http://{name}:{value}@host/"),
            };
            prop_assert!(!without_secrets(&text).contains(&value), "{}", text);
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
        check("attach-daemon", "worker --token abc -v", "worker --token *** -v");
        assert!(refers_to_secret("a$(DB_PASSWORD)b"));
        assert!(refers_to_secret("%(x + api_key)"));
        assert!(!refers_to_secret("%(base)/$(HOME)/secret"));
    }
}
