//! What is no request that can be served, and the response that says so.

use crate::request::Protocol;
use crate::status::words;

/// Bytes that are no request, or one that is not served. The connection is to be closed after the
/// answer: nobody knows where the next request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({status})")]
pub struct BadRequest {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, for the log and for the client.
    pub reason: &'static str,
}

impl BadRequest {
    pub(crate) const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// A whole response, after which the connection closes: the status with its own words, and `text` as
/// what is shown. Over the uwsgi protocol the web server in front closes and keeps for itself.
pub fn refusal(protocol: Protocol, status: u16, text: &str) -> Vec<u8> {
    let close = match protocol {
        Protocol::Uwsgi => "",
        Protocol::Http10 | Protocol::Http11 => "Connection: close\r\n",
    };
    let version = if protocol == Protocol::Http10 { "1.0" } else { "1.1" };
    let (words, bytes) = (words(status), text.len() + 1);
    let mut response = format!(
        "HTTP/{version} {status} {words}\r\n{close}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {bytes}\r\n\r\n"
    );
    response.push_str(text);
    response.push('\n');
    response.into_bytes()
}
