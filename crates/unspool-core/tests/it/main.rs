//! Tests of the public face of unspool-core.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod intake;
mod signature;
mod taskfile;
