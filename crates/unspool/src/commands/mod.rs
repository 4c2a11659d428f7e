//! One module per command.

pub(crate) mod adopt;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod edit;
pub(crate) mod fsck;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod mv;
pub(crate) mod pause;
pub(crate) mod purge;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod show;
mod signal;
pub(crate) mod spool;
pub(crate) mod stack;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod why;
