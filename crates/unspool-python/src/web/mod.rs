//! A web worker's requests: takes them from `unspool-web` and answers them by a WSGI application (PEP 3333).
//!
//! Owns what an application sees of a request and what becomes of what it returns. Connections, bounds and
//! times are `unspool-web`'s; the life of the process is `unspool/_web.py`'s.

mod answer;
mod body;
mod current;
mod environ;
mod file_wrapper;
mod forked;
mod input;
mod log_line;
mod server;
mod shared;
mod start_response;
mod text;

pub(crate) use current::{
    end_request, limit_request, log_request, request_length, request_serial, requests_answered,
};
pub(crate) use file_wrapper::FileWrapper;
pub(crate) use input::Input;
pub(crate) use server::Web;
pub(crate) use start_response::StartResponse;
