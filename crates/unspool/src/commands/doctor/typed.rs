//! Commands that mend something, as they are typed: quoted for the shell, and about the spool or the
//! configuration that was looked at, whatever the variables of the shell say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unspool_spool::Scope;

use crate::display::{shell_path, shell_word};

/// What commands are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) spool: &'a Path,
    /// The file that was named, if one was.
    pub(super) config: Option<&'a Path>,
}

impl Typed<'_> {
    /// A command about the spool, and what comes behind.
    pub(super) fn on_spool(&self, command: &str, rest: &str) -> String {
        let spool = shell_path(self.spool);
        let space = if rest.is_empty() { "" } else { " " };
        format!("`unspool {command} --spooler {spool}{space}{rest}`")
    }

    /// A command about a task, for which also counts what the configuration says.
    pub(super) fn on_task(&self, command: &str) -> String {
        match self.config {
            Some(file) => format!("`unspool {command} --config {} TASK`", shell_path(file)),
            None => self.on_spool(command, "TASK"),
        }
    }

    /// The one that starts a daemon.
    pub(super) fn start(&self) -> String {
        if let Some(file) = self.config {
            return format!("`unspool run {}`", shell_path(file));
        }
        let spool = shell_path(self.spool);
        format!("`unspool run --spooler {spool} --spooler-import MODULE`")
    }

    /// One of others about the spool's directory.
    pub(super) fn on_directory(&self, command: &str) -> String {
        format!("`{command} {}`", shell_path(self.spool))
    }

    /// The one that ends a pause.
    pub(super) fn resume(&self, scope: &Scope) -> String {
        // A name may begin with `-`, so it stands behind `=`.
        let part =
            |option: &str, name: &[u8]| format!("{option}={}", shell_word(OsStr::from_bytes(name)));
        let rest = match scope {
            Scope::Spool => String::new(),
            Scope::Folder(None) => part("--priority", b"."),
            Scope::Folder(Some(priority)) => part("--priority", priority.as_bytes()),
            Scope::Function(name) => part("--func", name),
        };
        self.on_spool("resume", &rest)
    }
}
