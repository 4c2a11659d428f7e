//! Imports that failed: the log shows them last.
//!
//! A daemon whose application cannot be imported goes on, and says a lot while it starts. What
//! matters then must not be buried: the traceback comes after that, when the daemon is ready, or
//! soon if it does not become so.

use tracing::error;
use unspool_sys::clock;
use unspool_wire::control::ImportFailure;

use super::Supervisor;

/// How long a traceback waits for the daemon to become ready.
const SHOW_AFTER_NS: u64 = 2_000_000_000;

/// Failures that are to be shown.
#[derive(Debug, Default)]
pub(super) struct Imports {
    failures: Vec<ImportFailure>,
    show_ns: Option<u64>,
}

impl Imports {
    /// When they are shown.
    pub(super) fn show_ns(&self) -> Option<u64> {
        self.show_ns
    }

    /// Shows them after what else is to be said now.
    pub(super) fn show_now(&mut self) {
        if !self.failures.is_empty() {
            self.show_ns = Some(0);
        }
    }
}

impl Supervisor {
    /// Imports have failed. They are shown when the daemon is ready.
    pub(super) fn imports_failed(&mut self, failures: Vec<ImportFailure>) {
        if failures.is_empty() {
            return;
        }
        let at_ns = if self.announced { 0 } else { clock::monotonic_ns() + SHOW_AFTER_NS };
        self.imports = Imports { failures, show_ns: Some(at_ns) };
    }

    pub(super) fn show_import_failures(&mut self) {
        if self.imports.show_ns.is_some_and(|at_ns| at_ns <= clock::monotonic_ns()) {
            for failure in std::mem::take(&mut self.imports).failures {
                error!(module = failure.target, detail = failure.traceback, "cannot import");
            }
        }
    }
}
