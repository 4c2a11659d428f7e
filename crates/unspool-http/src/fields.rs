//! The headers of an HTTP request: which of them become variables, and what they say about the body and
//! the connection.
//!
//! A header can set `CONTENT_TYPE`, `CONTENT_LENGTH` and names that begin with `HTTP_`, nothing else.

use httparse::Header;

use crate::refusal::BadRequest;
use crate::request::{BodyLength, Protocol, Seen, Variables};
use crate::target::is_host;

/// Headers that were judged.
pub(crate) struct Fields<'a> {
    headers: &'a [Header<'a>],
    /// Whether two have the same name.
    has_same: bool,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// What is found in a header's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ContentLength,
    ContentType,
    TransferEncoding,
    Connection,
    Expect,
    Host,
    Cookie,
    /// Becomes no variable.
    Dropped,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Self::Host,
            // As HTTP_PROXY it would be the proxy of whatever the application starts.
            5 if is("proxy") => Self::Dropped,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            10 if is("connection") => Self::Connection,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") => Self::ContentLength,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            // `X_Real` would be the same variable as `X-Real`, which a proxy in front sets or takes away.
            _ if name.bytes().any(|byte| byte == b'_') => Self::Dropped,
            _ => Self::Other,
        }
    }
}

impl<'a> Fields<'a> {
    /// Judges the headers.
    pub(crate) fn of(headers: &'a [Header<'a>], protocol: Protocol) -> Result<Self, BadRequest> {
        let is_11 = protocol == Protocol::Http11;
        let mut length = None;
        let mut coding = None;
        let mut host = None;
        let (mut close, mut keep, mut expects_continue) = (false, false, false);
        let mut names = Seen::default();
        let mut has_same = false;
        for (at, header) in headers.iter().enumerate() {
            has_same |= names.may_have(header.name.as_bytes())
                && headers[..at].iter().any(|other| is_same(other, header));
            let value = header.value;
            match Kind::of(header.name) {
                Kind::ContentLength => {
                    let bytes = content_length(value)?;
                    if length.replace(bytes).is_some_and(|other| other != bytes) {
                        return Err(BadRequest::new(400, "two values of Content-Length"));
                    }
                }
                Kind::TransferEncoding => {
                    if coding.replace(value).is_some() {
                        return Err(BadRequest::new(400, "Transfer-Encoding is given twice"));
                    }
                }
                Kind::Host => {
                    if host.replace(value).is_some() {
                        return Err(BadRequest::new(400, "Host is given twice"));
                    }
                }
                Kind::Connection => {
                    close |= has_token(value, b"close");
                    keep |= has_token(value, b"keep-alive");
                }
                Kind::Expect => expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
                Kind::ContentType | Kind::Cookie | Kind::Dropped | Kind::Other => {}
            }
        }
        match host {
            None if is_11 => return Err(BadRequest::new(400, "Host is missing")),
            Some(host) if !is_host(host) => return Err(BadRequest::new(400, "Host is invalid")),
            _ => {}
        }
        let body = match (coding, length) {
            (Some(_), Some(_)) => {
                return Err(BadRequest::new(400, "Content-Length together with Transfer-Encoding"));
            }
            (Some(_), None) if !is_11 => {
                return Err(BadRequest::new(400, "Transfer-Encoding in a request of HTTP/1.0"));
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => BodyLength::Chunked,
            (Some(_), None) => {
                return Err(BadRequest::new(501, "of the transfer codings only chunked is served"));
            }
            (None, length) => BodyLength::Bytes(length.unwrap_or(0)),
        };
        Ok(Self {
            headers,
            has_same,
            body,
            keep_alive: !close && (is_11 || keep),
            expects_continue: expects_continue && is_11 && body != BodyLength::Bytes(0),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Bytes that the headers take as variables, about.
    pub(crate) fn bytes(&self) -> usize {
        self.headers.iter().map(|header| header.name.len() + header.value.len() + 7).sum()
    }

    /// Adds the headers as variables. Those of one name are one, joined. `authority` of the target
    /// holds instead of `Host`.
    pub(crate) fn push_to(&self, variables: &mut Variables, authority: Option<&[u8]>) {
        if let Some(authority) = authority {
            variables.push(b"HTTP_HOST", authority);
        }
        for (at, header) in self.headers.iter().enumerate() {
            let kind = Kind::of(header.name);
            if kind == Kind::Dropped || (kind == Kind::Host && authority.is_some()) {
                continue;
            }
            let (before, mut more) = (&self.headers[..at], &self.headers[at + 1..]);
            if self.has_same && before.iter().any(|other| is_same(other, header)) {
                continue;
            }
            // Two lengths are the same.
            if !self.has_same || kind == Kind::ContentLength {
                more = &[];
            }
            let separator: &[u8] = if kind == Kind::Cookie { b"; " } else { b", " };
            variables.push_with(
                |bytes| push_name(kind, header.name, bytes),
                |bytes| {
                    bytes.extend_from_slice(header.value);
                    for other in more.iter().filter(|other| is_same(other, header)) {
                        bytes.extend_from_slice(separator);
                        bytes.extend_from_slice(other.value);
                    }
                },
            );
        }
    }
}

fn is_same(one: &Header<'_>, other: &Header<'_>) -> bool {
    one.name.eq_ignore_ascii_case(other.name)
}

/// What a byte of a header's name is in that of its variable.
const IN_VARIABLES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = if byte == b'-' as usize { b'_' } else { (byte as u8).to_ascii_uppercase() };
        byte += 1;
    }
    bytes
};

/// The variable of a header: `X-Real` becomes `HTTP_X_REAL`.
fn push_name(kind: Kind, name: &str, bytes: &mut Vec<u8>) {
    if !matches!(kind, Kind::ContentType | Kind::ContentLength) {
        bytes.extend_from_slice(b"HTTP_");
    }
    bytes.extend(name.bytes().map(|byte| IN_VARIABLES[usize::from(byte)]));
}

/// The number, of digits alone: where a sign, a blank or a comma is allowed by one server and not by
/// another, they disagree about where the next request begins.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, BadRequest> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BadRequest::new(400, "Content-Length is no number"));
    }
    value
        .iter()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
        .ok_or(BadRequest::new(413, "Content-Length is too large"))
}

/// Whether a list separated by commas has a word.
pub(crate) fn has_token(list: &[u8], word: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
}
