//! The line that is logged of a request, in uWSGI's form.

use std::fmt::Write as _;

use unspool_http::{Protocol, Request};

use super::answer::Answered;

/// Bytes of a variable in a line.
const SHOWN_BYTES_MAX: usize = 2048;

/// What a line says besides the request and its answer.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) pid: u32,
    /// Requests of this worker, and of all.
    pub(super) requests: (u64, u64),
    pub(super) date: &'a str,
    pub(super) milliseconds: u64,
    pub(super) core: usize,
}

/// What of a request is in its line, so that the request itself need not be kept.
#[derive(Debug)]
pub(super) struct Asked {
    remote: String,
    user: String,
    variables: usize,
    bytes: usize,
    method: String,
    uri: String,
    protocol: String,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let shown = |name: &[u8]| shown(request.get(name).unwrap_or_default());
        let protocol = match request.protocol() {
            Protocol::Http10 => "HTTP/1.0".to_owned(),
            Protocol::Http11 => "HTTP/1.1".to_owned(),
            Protocol::Uwsgi => shown(b"SERVER_PROTOCOL"),
        };
        Self {
            remote: shown(b"REMOTE_ADDR"),
            user: shown(b"REMOTE_USER"),
            variables: request.variables().len(),
            bytes: request.packet_bytes(),
            method: shown(b"REQUEST_METHOD"),
            uri: shown(b"REQUEST_URI"),
            protocol,
        }
    }

    /// The line, with its end.
    pub(super) fn line(&self, answered: &Answered, about: &About<'_>) -> String {
        let mut line = String::with_capacity(256);
        // Nothing fails that writes to a text.
        let _ = writeln!(
            line,
            "[pid: {}|app: 0|req: {}/{}] {} ({}) {{{} vars in {} bytes}} [{}] {} {} => generated {} bytes in \
             {} msecs ({} {}) {} headers in {} bytes (0 switches on core {})",
            about.pid,
            about.requests.0,
            about.requests.1,
            self.remote,
            self.user,
            // uWSGI counts names and values.
            2 * self.variables,
            self.bytes,
            about.date,
            self.method,
            self.uri,
            answered.body_bytes,
            about.milliseconds,
            self.protocol,
            answered.status,
            answered.headers,
            answered.head_bytes,
            about.core,
        );
        line
    }
}

/// What a client says, without what would make it two lines or move a terminal's cursor.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN_BYTES_MAX)]);
    if text.chars().any(char::is_control) {
        return text.escape_debug().to_string();
    }
    text.into_owned()
}
