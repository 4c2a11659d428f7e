//! Requests of HTTP/1.x and of the uwsgi protocol as the variables that an application sees, and
//! responses as bytes. Bytes in, values out: no sockets, no clock, no Python.
//!
//! `head` reads the head of an HTTP request, with `target` and `fields` for what stands in it; `uwsgi`
//! takes a packet for one. Both make a `Request`. `chunks` reads bodies that come in chunks, `response`
//! writes heads of responses and `refusal` whole ones to what is no request. How long anything is waited
//! for, and how much of a body is taken, the caller decides.

mod chunks;
mod fields;
mod head;
mod refusal;
mod request;
mod response;
mod status;
mod target;
mod uwsgi;

pub use chunks::{BadChunk, Chunk, Chunks};
pub use head::{Connection, Limits, read_http};
pub use refusal::{BadRequest, refusal};
pub use request::{BodyLength, Protocol, Request, Variable};
pub use response::{
    CHUNK_END, CONTINUE, Framing, InvalidHeader, LAST_CHUNK, ResponseHead, check_head, chunk_head,
    response_head,
};
pub use uwsgi::read_uwsgi;
