//! Files that tell the daemon's process to others.

use std::path::{Path, PathBuf};

use unspool_config::{DaemonConfig, PidFiles as Paths};
use unspool_sys::{files, host, process};

use super::SetupError;
use crate::logging::with_causes;

/// What a pid file may have: a number and blanks around it.
const PID_FILE_BYTES_MAX: usize = 64;

/// The pid files of this daemon.
#[derive(Debug)]
pub(crate) struct PidFiles {
    paths: Paths,
    vacuum: bool,
    written: Vec<PathBuf>,
}

impl PidFiles {
    pub(super) fn new(config: &DaemonConfig) -> Self {
        Self { paths: config.pid_files.clone(), vacuum: config.vacuum, written: Vec::new() }
    }

    pub(super) fn write_as_starter(&mut self) -> Result<Vec<String>, SetupError> {
        let path = self.paths.pidfile.clone();
        self.write("pidfile", path)
    }

    pub(super) fn write_as_daemon(&mut self) -> Result<Vec<String>, SetupError> {
        let path = self.paths.pidfile2.clone();
        self.write("pidfile2", path)
    }

    /// Once all runs: a daemon that could not start leaves those of another one alone.
    pub(crate) fn write_safe(&mut self) -> Vec<String> {
        self.write_running([
            ("safe-pidfile", self.paths.safe_pidfile.clone()),
            ("safe-pidfile2", self.paths.safe_pidfile2.clone()),
        ])
    }

    /// All of them once more, for who has removed one.
    pub(crate) fn write_again(&mut self) -> Vec<String> {
        let mut remarks = self.write_running([
            ("pidfile", self.paths.pidfile.clone()),
            ("pidfile2", self.paths.pidfile2.clone()),
        ]);
        remarks.extend(self.write_safe());
        remarks
    }

    fn write_running(&mut self, files: [(&'static str, Option<PathBuf>); 2]) -> Vec<String> {
        let mut remarks = Vec::new();
        for (option, path) in files {
            match self.write(option, path) {
                Ok(more) => remarks.extend(more),
                // It runs: that nobody finds it is no reason to end.
                Err(error) => remarks.push(with_causes(&error)),
            }
        }
        remarks
    }

    fn write(
        &mut self,
        option: &'static str,
        path: Option<PathBuf>,
    ) -> Result<Vec<String>, SetupError> {
        let Some(path) = path else { return Ok(Vec::new()) };
        let mut remarks = Vec::new();
        if let Some(pid) = read(&path).filter(|pid| *pid != host::pid() && is_unspool(*pid)) {
            let shown = path.display();
            remarks.push(format!(
                "`{option}`: `{shown}` named process {pid}, which is an unspool that runs; it \
                 names this one now"
            ));
        }
        match files::replace(&path, text().as_bytes()) {
            Ok(()) if self.written.contains(&path) => {}
            Ok(()) => self.written.push(path),
            Err(source) => return Err(SetupError::PidFile { option, path, source }),
        }
        Ok(remarks)
    }

    /// With `vacuum`, removes what was written, unless somebody else has written it since.
    pub(crate) fn remove(&mut self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.vacuum {
            for path in self.written.drain(..) {
                if let Err(error) = files::remove_if(&path, text().as_bytes()) {
                    remarks.push(format!("`vacuum`: cannot remove `{}`: {error}", path.display()));
                }
            }
        }
        remarks
    }
}

fn text() -> String {
    format!("{}\n", host::pid())
}

/// The process that a file names.
pub(crate) fn read(path: &Path) -> Option<u32> {
    let content = std::fs::read(path).ok()?;
    let text = std::str::from_utf8(&content[..content.len().min(PID_FILE_BYTES_MAX)]).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Whether a process is one of ours: it executes a file of this name.
fn is_unspool(pid: u32) -> bool {
    process::executable(pid).is_some_and(|name| name == "unspool")
}
