//! The head of a response, and how its end is known.
//!
//! Writes what an application gave, without what would be another header or another response. That the
//! body then has the length that is said, the caller sees to.

use std::io::Write;

use crate::fields::{content_length, has_token};
use crate::request::{Protocol, Request, Variable};
use crate::status::words;

/// What a client that waits before it sends its body is told.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What stands behind the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What stands behind the last chunk.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes of a name or a status that an error shows.
const SHOWN_BYTES_MAX: usize = 100;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none: the answer to HEAD, 1xx, 204 and 304.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It goes in chunks: [`chunk_head`], the data and [`CHUNK_END`] for each, then [`LAST_CHUNK`].
    Chunked,
    /// The connection is closed behind it.
    Close,
}

/// A head that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its bytes, with the empty line.
    pub bytes: Vec<u8>,
    /// The status.
    pub status: u16,
    /// Headers in it.
    pub headers: usize,
    /// How the end of the body is known.
    pub framing: Framing,
    /// Whether the connection may have another request behind the body, as the client was told.
    pub keep_alive: bool,
}

/// What an application gave and no response can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// No three digits, or bytes that end its line.
    #[error("the status `{0}` is none: three digits, and words behind a space")]
    Status(String),
    /// No token.
    #[error("the header's name `{0}` is none")]
    Name(String),
    /// A value that ends its line.
    #[error("the header `{0}` has a line break or a NUL in its value")]
    Value(String),
    /// No number, or two.
    #[error("Content-Length is no number, or there are two")]
    Length,
    /// Both.
    #[error("Content-Length together with Transfer-Encoding")]
    TwoLengths,
}

/// What the headers of an application say.
#[derive(Default)]
struct Said {
    count: usize,
    length: Option<u64>,
    coded: bool,
    close: bool,
}

/// Writes the head of a response. `status` is what WSGI has, `200 OK`; `known_length` is the body's, where
/// it is there already, and is said if the application does not; without `may_keep` the connection
/// closes, whatever the client asked for.
pub fn response_head<'h>(
    request: &Request,
    status: &[u8],
    headers: impl IntoIterator<Item = Variable<'h>>,
    known_length: Option<u64>,
    may_keep: bool,
) -> Result<ResponseHead, InvalidHeader> {
    let code = status_code(status)?;
    let version: &[u8] = match request.protocol() {
        Protocol::Http10 => b"HTTP/1.0 ",
        Protocol::Uwsgi
            if request.get(b"SERVER_PROTOCOL").is_none_or(|said| said == b"HTTP/1.0") =>
        {
            b"HTTP/1.0 "
        }
        Protocol::Http11 | Protocol::Uwsgi => b"HTTP/1.1 ",
    };
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(version);
    bytes.extend_from_slice(status);
    if status.len() == 3 {
        bytes.push(b' ');
        bytes.extend_from_slice(words(code).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    let never_has_body = code < 200 || code == 204;
    let mut said = write_headers(&mut bytes, headers, never_has_body)?;
    let framing = if never_has_body || code == 304 || request.is_head() {
        Framing::None
    } else if said.coded {
        // The application makes its chunks itself, which nobody checks.
        Framing::Close
    } else {
        match (said.length, known_length, request.protocol()) {
            (Some(length), _, _) => Framing::Length(length),
            (None, Some(length), _) => {
                write_length(&mut bytes, length);
                said.count += 1;
                Framing::Length(length)
            }
            (None, None, Protocol::Http11) => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                said.count += 1;
                Framing::Chunked
            }
            (None, None, Protocol::Http10 | Protocol::Uwsgi) => Framing::Close,
        }
    };
    let keep_alive =
        request.keep_alive() && may_keep && !said.close && framing != Framing::Close && code >= 200;
    let connection: &[u8] = match (request.protocol(), keep_alive) {
        (Protocol::Uwsgi, _) | (Protocol::Http11, true) => b"",
        (Protocol::Http10, true) => b"Connection: keep-alive\r\n",
        (Protocol::Http10 | Protocol::Http11, false) => b"Connection: close\r\n",
    };
    bytes.extend_from_slice(connection);
    bytes.extend_from_slice(b"\r\n");
    let headers = said.count + usize::from(!connection.is_empty());
    Ok(ResponseHead { bytes, status: code, headers, framing, keep_alive })
}

/// Writes what an application gave. About the connection is said what holds, and where no body can be
/// nothing about its length.
fn write_headers<'h>(
    bytes: &mut Vec<u8>,
    headers: impl IntoIterator<Item = Variable<'h>>,
    never_has_body: bool,
) -> Result<Said, InvalidHeader> {
    let mut said = Said::default();
    for (name, value) in headers {
        check_header(name, value)?;
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"Content-Length") {
            let length = content_length(value.trim_ascii()).map_err(|_| InvalidHeader::Length)?;
            match said.length.replace(length) {
                Some(other) if other != length => return Err(InvalidHeader::Length),
                Some(_) => continue,
                None if never_has_body => continue,
                None => {}
            }
        } else if is(b"Transfer-Encoding") {
            said.coded = true;
            if never_has_body {
                continue;
            }
        } else if is(b"Connection") || is(b"Keep-Alive") {
            said.close |= has_token(value, b"close");
            continue;
        }
        for part in [name, b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        said.count += 1;
    }
    if said.coded && said.length.is_some() && !never_has_body {
        return Err(InvalidHeader::TwoLengths);
    }
    Ok(said)
}

/// Whether a response can have this status and these headers, for who has to tell that at once.
pub fn check_head<'h>(
    status: &[u8],
    headers: impl IntoIterator<Item = Variable<'h>>,
) -> Result<(), InvalidHeader> {
    status_code(status)?;
    headers.into_iter().try_for_each(|(name, value)| {
        check_header(name, value)?;
        if name.eq_ignore_ascii_case(b"Content-Length") {
            content_length(value.trim_ascii()).map_err(|_| InvalidHeader::Length)?;
        }
        Ok(())
    })
}

fn check_header(name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(InvalidHeader::Name(shown(name)));
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(InvalidHeader::Value(shown(name)));
    }
    Ok(())
}

fn write_length(bytes: &mut Vec<u8>, length: u64) {
    // Writing to memory does not fail.
    let _ = write!(bytes, "Content-Length: {length}\r\n");
}

fn status_code(status: &[u8]) -> Result<u16, InvalidHeader> {
    let code = match status {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..]
            if rest.first().is_none_or(|&byte| byte == b' ')
                && !rest.iter().any(u8::is_ascii_control) =>
        {
            [a, b, c].iter().fold(0, |sum, digit| 10 * sum + u16::from(**digit - b'0'))
        }
        _ => return Err(InvalidHeader::Status(shown(status))),
    };
    Ok(code)
}

/// Whether names of headers may have a byte.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A text for an error, in one line.
fn shown(text: &[u8]) -> String {
    let cut = text.get(..SHOWN_BYTES_MAX).unwrap_or(text);
    cut.escape_ascii().to_string()
}

/// The line before a chunk of so many bytes, and its own length. Of 0 bytes there is no chunk: that is
/// [`LAST_CHUNK`].
pub fn chunk_head(bytes: usize) -> ([u8; 18], usize) {
    let mut line = [0; 18];
    let mut from = &mut line[..];
    let before = from.len();
    // 16 digits at most, and two bytes.
    let _ = write!(from, "{bytes:x}\r\n");
    let length = before - from.len();
    (line, length)
}
