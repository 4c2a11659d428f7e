//! The head of an HTTP/1.x request: the bytes up to the empty line, as variables.
//!
//! httparse takes the lines apart; `target` and `fields` say what they mean and refuse what two servers
//! could take for two things.

use std::mem::MaybeUninit;

use httparse::Status;

use crate::fields::Fields;
use crate::refusal::BadRequest;
use crate::request::{Facts, Protocol, Request, Variables};
use crate::target::{Target, decode};

/// Bytes of a head, whatever the limits say.
pub(crate) const HEAD_BYTES_MAX: usize = 1 << 20;
/// Headers of a request, whatever the limits say.
pub(crate) const HEADERS_MAX: usize = 256;

/// How much a head may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its empty line included; 1 MiB at most.
    pub head_bytes_max: usize,
    /// Headers; 256 at most.
    pub headers_max: usize,
}

/// What no request says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The client's address; of a Unix socket uWSGI says `0.0.0.0`.
    pub remote_addr: &'a str,
    /// Its port, where there is one.
    pub remote_port: Option<u16>,
    /// This machine's name.
    pub server_name: &'a str,
    /// The port of the listening socket; of a Unix socket uWSGI says `80`.
    pub server_port: &'a str,
    /// Whether the connection is one of TLS.
    pub https: bool,
}

/// Reads the head of a request from the start of `bytes`: it and how many bytes it takes, or nothing
/// while it is not whole. It reads from the start each time: of bytes that come one by one only those
/// with a line feed, or beyond the limit, are worth another look.
pub fn read_http(
    bytes: &[u8],
    connection: &Connection<'_>,
    limits: &Limits,
) -> Result<Option<(Request, usize)>, BadRequest> {
    let most = limits.head_bytes_max.min(HEAD_BYTES_MAX);
    // What is behind the limit does not count, however much has come at once.
    let seen = bytes.get(..most).unwrap_or(bytes);
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let room = &mut room[..limits.headers_max.min(HEADERS_MAX)];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(seen, room) {
        Ok(Status::Complete(taken)) => {
            let request = Head::of(&parsed, seen.get(..taken).unwrap_or(seen))?.request(connection);
            Ok(Some((request, taken)))
        }
        Ok(Status::Partial) if seen.len() < most => Ok(None),
        Ok(Status::Partial) if parsed.path.is_none() => {
            Err(BadRequest::new(414, "the request line is too long"))
        }
        Ok(Status::Partial) => Err(BadRequest::new(431, "the head of the request is too large")),
        Err(error) => Err(refused(error, seen)),
    }
}

/// What httparse refuses.
fn refused(error: httparse::Error, seen: &[u8]) -> BadRequest {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => BadRequest::new(431, "the request has too many headers"),
        Error::HeaderName => BadRequest::new(400, "a header's name is invalid"),
        Error::HeaderValue => BadRequest::new(400, "a header's value is invalid"),
        Error::NewLine => BadRequest::new(400, "a line does not end in CR LF"),
        Error::Version if names_http(seen) => {
            BadRequest::new(505, "the version of HTTP is not served: HTTP/1.0 and HTTP/1.1 are")
        }
        Error::Version | Error::Token | Error::Status => {
            BadRequest::new(400, "the request line is invalid")
        }
    }
}

/// Whether the third word of the first line is a version of HTTP, though another one.
fn names_http(seen: &[u8]) -> bool {
    seen.splitn(3, |&byte| byte == b' ').nth(2).is_some_and(|rest| rest.starts_with(b"HTTP/"))
}

/// A head that is whole and allowed.
struct Head<'a> {
    method: &'a str,
    uri: &'a str,
    target: Target<'a>,
    fields: Fields<'a>,
    protocol: Protocol,
}

impl<'a> Head<'a> {
    fn of(parsed: &'a httparse::Request<'_, 'a>, bytes: &[u8]) -> Result<Self, BadRequest> {
        if has_bare_feed(bytes) {
            return Err(BadRequest::new(400, "a line does not end in CR LF"));
        }
        let (Some(method), Some(uri), Some(version)) = (parsed.method, parsed.path, parsed.version)
        else {
            return Err(BadRequest::new(400, "the request line is invalid"));
        };
        let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };
        let target = Target::of(method, uri.as_bytes())?;
        let fields = Fields::of(parsed.headers, protocol)?;
        Ok(Self { method, uri, target, fields, protocol })
    }

    fn request(&self, connection: &Connection<'_>) -> Request {
        let target = &self.target;
        let bytes = 2 * self.uri.len() + self.fields.bytes() + 256;
        let mut variables = Variables::with_capacity(bytes, self.fields.len() + 12);
        variables.push(b"REQUEST_METHOD", self.method.as_bytes());
        variables.push(b"REQUEST_URI", self.uri.as_bytes());
        variables.push_with(
            |bytes| bytes.extend_from_slice(b"PATH_INFO"),
            |bytes| decode(&target.path, bytes),
        );
        variables.push(b"QUERY_STRING", target.query);
        let version: &[u8] = match self.protocol {
            Protocol::Http10 => b"HTTP/1.0",
            Protocol::Uwsgi | Protocol::Http11 => b"HTTP/1.1",
        };
        variables.push(b"SERVER_PROTOCOL", version);
        variables.push(b"SCRIPT_NAME", b"");
        variables.push(b"SERVER_NAME", connection.server_name.as_bytes());
        variables.push(b"SERVER_PORT", connection.server_port.as_bytes());
        variables.push(b"REMOTE_ADDR", connection.remote_addr.as_bytes());
        if let Some(port) = connection.remote_port {
            let (digits, from) = decimal(port);
            variables.push(b"REMOTE_PORT", &digits[from..]);
        }
        if connection.https {
            variables.push(b"HTTPS", b"on");
        }
        self.fields.push_to(&mut variables, target.authority);
        let facts = Facts {
            protocol: self.protocol,
            body: self.fields.body,
            keep_alive: self.fields.keep_alive,
            expects_continue: self.fields.expects_continue,
            is_head: self.method == "HEAD",
        };
        Request::new(variables, facts)
    }
}

/// Whether a line ends in a line feed alone, which httparse takes for an end and others do not.
fn has_bare_feed(bytes: &[u8]) -> bool {
    // Without an early end, and on bytes: so the compiler makes wide instructions of it.
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let is_bare = |before: u8, byte: u8| u8::from(byte == b'\n') & u8::from(before != b'\r');
    pairs.fold(0, |bare, (before, byte)| bare | is_bare(*before, *byte)) != 0
        || bytes.starts_with(b"\n")
}

/// The digits of a port, from an index on.
fn decimal(mut number: u16) -> ([u8; 5], usize) {
    let mut digits = [b'0'; 5];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || from == 0 {
            return (digits, from);
        }
    }
}
