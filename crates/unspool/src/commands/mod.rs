//! One module per command.

pub(crate) mod run;
pub(crate) mod spool;
