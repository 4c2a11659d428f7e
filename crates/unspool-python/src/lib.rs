//! `unspool._native`: the Rust core as Python sees it.
//!
//! Converts values and errors, releases the interpreter lock around system calls, and decides
//! nothing: what a task file looks like and how it is published is `unspool-spool`'s business, what
//! an option means `unspool-config`'s. Importing it starts no thread and opens no file.

mod alone;
mod bounds;
mod cancel;
mod cancelled;
mod config;
mod errors;
mod inspect;
mod limits;
mod mark;
mod message;
mod network;
mod output;
mod policy;
mod process;
mod replay;
mod running;
mod security;
mod settings;
mod spool;
mod stack;
mod watch;
mod web;
mod worker;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::cancel::cancel;
    #[pymodule_export]
    use crate::cancelled::take_cancellation;
    #[pymodule_export]
    use crate::config::{environment_config, load_config};
    #[pymodule_export]
    use crate::errors::{
        CancelError, ConfigError, NotDurableError, SpoolError, SpoolFullError, UnansweredError,
    };
    #[pymodule_export]
    use crate::inspect::{
        ask_daemon, live_daemon, open_first_spool, parsefile, shared_lock, shared_store,
        spooler_get_task, spooler_jobs,
    };
    #[pymodule_export]
    use crate::limits::{handler_returned, look_signal, take_soft_timeout};
    #[pymodule_export]
    use crate::mark::mark_process;
    #[pymodule_export]
    use crate::message::decoded;
    #[pymodule_export]
    use crate::network::{configure_network, send_message};
    #[pymodule_export]
    use crate::output::{last_words_offset, note_output};
    #[pymodule_export]
    use crate::process::set_title;
    #[pymodule_export]
    use crate::replay::{begin_task, is_secret_name, without_secrets};
    #[pymodule_export]
    use crate::running::check_pickles;
    #[pymodule_export]
    use crate::settings::configure;
    #[pymodule_export]
    use crate::spool::{report_submissions, spool, submit};
    #[pymodule_export]
    use crate::stack::stack_channel;
    #[pymodule_export]
    use crate::watch::LateNote;
    #[pymodule_export]
    use crate::web::{
        FileWrapper, Input, StartResponse, Web, end_request, limit_request, log_request,
        request_length, request_serial, requests_answered,
    };
    #[pymodule_export]
    use crate::worker::{Worker, end_with_daemon};
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python modules have")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
