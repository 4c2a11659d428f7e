//! One module per command.

pub(crate) mod adopt;
pub(crate) mod config;
pub(crate) mod run;
mod signal;
pub(crate) mod spool;
