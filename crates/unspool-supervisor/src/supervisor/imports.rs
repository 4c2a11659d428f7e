//! Imports that failed: the log shows them last.
//!
//! A daemon whose application cannot be imported goes on, and says a lot while it starts. What
//! matters then must not be buried: the traceback comes after that, when the daemon is ready, or
//! soon if it does not become so. Whoever asks later still hears of the last import that failed.

use unspool_sys::clock;
use unspool_wire::control::ImportFailure;

use super::Supervisor;
use crate::journal::journal;
use crate::snapshot::{FailedImport, ImportFailed};

/// How long a traceback waits for the daemon to become ready.
const SHOW_AFTER_NS: u64 = 2_000_000_000;

/// Failures of an import that are remembered.
const FAILURES_MAX: usize = 16;

/// Failures that are to be shown.
#[derive(Debug, Default)]
pub(super) struct Imports {
    failures: Vec<ImportFailure>,
    show_ns: Option<u64>,
    /// The last import, if it failed.
    last: Option<ImportFailed>,
    /// What the application registered in the last one that was taken over.
    functions: Vec<String>,
}

impl Imports {
    /// When they are shown.
    pub(super) fn show_ns(&self) -> Option<u64> {
        self.show_ns
    }

    /// The last import, if it failed.
    pub(super) fn last(&self) -> Option<&ImportFailed> {
        self.last.as_ref()
    }

    /// The functions that the application registered.
    pub(super) fn functions(&self) -> &[String] {
        &self.functions
    }

    /// An import was taken over.
    pub(super) fn registered(&mut self, functions: Vec<String>) {
        self.functions = functions;
    }

    /// Remembers a failure of the last import.
    fn note(&mut self, given_up: bool, failures: impl Iterator<Item = FailedImport>) {
        let at = clock::now_ns().div_euclid(1_000_000_000);
        let failures = failures.take(FAILURES_MAX).collect();
        self.last = Some(ImportFailed { at, given_up, failures });
    }

    /// Shows them after what else is to be said now.
    pub(super) fn show_now(&mut self) {
        if !self.failures.is_empty() {
            self.show_ns = Some(0);
        }
    }
}

impl Supervisor {
    /// Imports have failed, or none. They are shown when the daemon is ready. `given_up`: the workers
    /// go on with what was imported before.
    pub(super) fn imports_failed(&mut self, failures: Vec<ImportFailure>, given_up: bool) {
        if failures.is_empty() {
            self.imports.last = None;
            return;
        }
        self.imports.note(given_up, failures.iter().map(failed_import));
        let at_ns = if self.announced { 0 } else { clock::monotonic_ns() + SHOW_AFTER_NS };
        (self.imports.failures, self.imports.show_ns) = (failures, Some(at_ns));
    }

    /// A process has ended while it imported the application.
    pub(super) fn import_ended(&mut self, how: String) {
        let failure = FailedImport { target: String::new(), traceback: how };
        self.imports.note(self.zygote.is_some(), std::iter::once(failure));
    }

    /// A worker cannot import the application, and ends.
    pub(super) fn worker_cannot_import(&mut self, failures: &[ImportFailure]) {
        if !failures.is_empty() {
            self.imports.note(false, failures.iter().map(failed_import));
        }
    }

    /// A worker has imported the application itself.
    pub(super) fn worker_imported(&mut self) {
        self.imports.last = None;
    }

    pub(super) fn show_import_failures(&mut self) {
        if self.imports.show_ns.is_some_and(|at_ns| at_ns <= clock::monotonic_ns()) {
            self.imports.show_ns = None;
            for failure in std::mem::take(&mut self.imports.failures) {
                journal!(
                    IMPORT_FAILED,
                    module = failure.target,
                    detail = failure.traceback,
                    "cannot import"
                );
            }
        }
    }
}

fn failed_import(failure: &ImportFailure) -> FailedImport {
    let ImportFailure { target, traceback } = failure.clone();
    FailedImport { target, traceback }
}
