//! What a request asks for: the forms of a target, and the path in it.

use std::borrow::Cow;

use crate::refusal::BadRequest;

/// The parts of a target.
pub(crate) struct Target<'a> {
    /// Host and port, where the target names them; then they hold instead of the header `Host`.
    pub(crate) authority: Option<&'a [u8]>,
    /// The path, with its escapes and without steps.
    pub(crate) path: Cow<'a, [u8]>,
    /// What stands behind the `?`; empty without one.
    pub(crate) query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Takes a target apart. A path and `*` are as they are, `http://host/path` is what proxies get.
    pub(crate) fn of(method: &str, uri: &'a [u8]) -> Result<Self, BadRequest> {
        if method == "CONNECT" {
            return Err(BadRequest::new(501, "CONNECT is not served"));
        }
        if uri.contains(&b'#') {
            return Err(BadRequest::new(400, "the target has a fragment"));
        }
        if uri.starts_with(b"/") || (uri == b"*" && method == "OPTIONS") {
            let (path, query) = split_query(uri);
            return Ok(Self { authority: None, path: without_steps(path), query });
        }
        let Some(rest) = without_scheme(uri) else {
            return Err(BadRequest::new(400, "the target is neither a path nor a URL of HTTP"));
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.is_empty() || !is_host(authority) {
            return Err(BadRequest::new(400, "the host in the target is invalid"));
        }
        let (path, query) = split_query(rest);
        let path = if path.is_empty() { b"/" } else { path };
        Ok(Self { authority: Some(authority), path: without_steps(path), query })
    }
}

fn split_query(uri: &[u8]) -> (&[u8], &[u8]) {
    match uri.iter().position(|&byte| byte == b'?') {
        Some(at) => (&uri[..at], &uri[at + 1..]),
        None => (uri, b""),
    }
}

/// Takes the steps of RFC 3986, `.` and `..`, as uWSGI does: those that are written out, since escapes
/// are not decoded yet. An empty part of a path is one.
fn without_steps(path: &[u8]) -> Cow<'_, [u8]> {
    let Some(rest) = path.strip_prefix(b"/") else { return Cow::Borrowed(path) };
    if !path.windows(2).any(|pair| pair == b"/.") {
        return Cow::Borrowed(path);
    }
    let mut made = Vec::with_capacity(path.len());
    let mut parts = rest.split(|&byte| byte == b'/').peekable();
    while let Some(part) = parts.next() {
        match part {
            b"." | b".." => {
                if part == b".." {
                    made.truncate(made.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                }
                // Behind the last one the path is that of a folder.
                if parts.peek().is_none() {
                    made.push(b'/');
                }
            }
            part => {
                made.push(b'/');
                made.extend_from_slice(part);
            }
        }
    }
    Cow::Owned(made)
}

fn without_scheme(uri: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = uri.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Whether a text has nothing but what names, addresses and ports of hosts are written with. A user
/// before it (`@`) is not meant for servers.
pub(crate) fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}

/// Writes a path with its escapes (`%41`) made bytes. What is no escape stays as it is.
pub(crate) fn decode(path: &[u8], into: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let (plain, escape) = rest.split_at(at);
        into.extend_from_slice(plain);
        if let [_, high, low, behind @ ..] = escape
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            into.push(high << 4 | low);
            rest = behind;
        } else {
            into.push(b'%');
            rest = &escape[1..];
        }
    }
    into.extend_from_slice(rest);
}

/// The value of a hexadecimal digit.
pub(crate) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
