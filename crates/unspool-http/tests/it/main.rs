//! What the crate says to the bytes of clients and of applications.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod body;
mod cut;
mod http;
mod response;
mod uwsgi;

use unspool_http::{Connection, Limits, Request, read_http};

const LIMITS: Limits = Limits { head_bytes_max: 4096, headers_max: 100 };

const CONNECTION: Connection<'static> = Connection {
    remote_addr: "10.0.0.7",
    remote_port: Some(50_123),
    server_name: "web1",
    server_port: "8000",
    https: false,
};

/// A head that is whole and good.
fn read(bytes: &[u8]) -> Request {
    let (request, taken) = read_http(bytes, &CONNECTION, &LIMITS).unwrap().unwrap();
    assert_eq!(taken, bytes.len());
    request
}

/// What a head without its empty line is refused for.
fn refused(head: &str) -> (u16, &'static str) {
    let bytes = format!("{head}\r\n\r\n");
    let bad = read_http(bytes.as_bytes(), &CONNECTION, &LIMITS).unwrap_err();
    (bad.status, bad.reason)
}

/// A variable as text.
fn get(request: &Request, key: &str) -> Option<String> {
    request.get(key.as_bytes()).map(|value| value.escape_ascii().to_string())
}
