//! What follows from changes of watched files: reloads, commands, signals, the log opened anew.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tracing::info;
use unspool_sys::poll::Waker;
use unspool_sys::process::Child;
use unspool_wire::control::{MonitorSpec, Source};

use super::watcher::{MONITORS_MAX, Monitor, SourceFile, Start, Watcher};
use super::{KIND_COMMAND, Supervisor};
use crate::journal::journal;
use crate::settings::{TouchAction, WatchSettings};

/// The commands of `touch-exec` that run, one at a time for each such option.
#[derive(Debug, Default)]
pub(super) struct TouchCommands {
    running: BTreeMap<usize, Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// It was touched again meanwhile.
    again: bool,
}

impl TouchCommands {
    pub(super) fn has(&self, pid: u32) -> bool {
        self.running.values().any(|running| running.child.pid() == pid)
    }
}

/// Watches what the options name.
pub(super) fn start(settings: &WatchSettings, waker: &Arc<Waker>) -> io::Result<Watcher> {
    let touches = settings.touches.iter().map(|touch| (touch.path.clone(), touch.any_event));
    let start = Start { touches: touches.collect(), autoreload: settings.autoreload };
    Watcher::new(start, Arc::clone(waker))
}

impl From<Source> for SourceFile {
    fn from(source: Source) -> Self {
        let Source { path, mtime_ns, bytes } = source;
        Self { path: PathBuf::from(path), state: Some((mtime_ns, bytes)) }
    }
}

impl From<MonitorSpec> for Monitor {
    fn from(spec: MonitorSpec) -> Self {
        Self { path: PathBuf::from(spec.path), signal: spec.signal, state: spec.state }
    }
}

impl Supervisor {
    /// Acts on what the watcher has seen.
    pub(super) fn read_watcher(&mut self) {
        let findings = self.watcher.take();
        if self.ladder.is_some() {
            return;
        }
        for number in findings.touched {
            self.touched(number);
        }
        // While an import runs, what it reads is told at its end with the state it was read in.
        if let Some((path, files)) = findings.sources.filter(|_| self.next_zygote.is_none()) {
            journal!(SOURCE_CHANGED, path = %path.display(), files, "a source file changed");
            self.reload();
        }
        for signal in findings.signals {
            self.raise(signal);
        }
    }

    fn touched(&mut self, number: usize) {
        let Some(touch) = self.watch.touches.get(number) else { return };
        let (option, path) = (touch.option, touch.path.display().to_string());
        match touch.action.clone() {
            TouchAction::Reload => {
                journal!(FILE_TOUCHED, option, path, "touched");
                self.reload();
            }
            TouchAction::ReopenLog => {
                self.reopen_log();
                journal!(FILE_TOUCHED, option, path, "touched");
            }
            TouchAction::RotateLog => {
                info!(option, path, "touched");
                self.rotate_log();
            }
            TouchAction::Signal(signal) => {
                journal!(FILE_TOUCHED, option, path, signal, "touched: raising the signal");
                self.raise(signal);
            }
            TouchAction::Exec(command) => {
                if let Some(running) = self.touch_commands.running.get_mut(&number) {
                    journal!(
                        FILE_TOUCHED,
                        option,
                        path,
                        "touched while its command runs: it runs again then"
                    );
                    running.again = true;
                    return;
                }
                journal!(FILE_TOUCHED, option, path, command, "touched: running the command");
                self.start_touch_command(number, &command);
            }
        }
    }

    fn start_touch_command(&mut self, number: usize, command: &str) {
        let started = Command::new("/bin/sh")
            .args(["-c", command])
            .current_dir(&self.watch.directory)
            .stdin(Stdio::null())
            .spawn()
            .and_then(|child| Child::open(child.id()))
            .and_then(|child| {
                self.poll.add(child.as_fd(), KIND_COMMAND | number as u64)?;
                Ok(child)
            });
        match started {
            Ok(child) => {
                self.touch_commands.running.insert(number, Running { child, again: false });
            }
            Err(error) => journal!(COMMAND_NOT_STARTED, command, %error, "cannot run a command"),
        }
    }

    /// A command of a touch has ended.
    pub(super) fn touch_command_ended(&mut self, number: usize) {
        let Some(running) = self.touch_commands.running.get(&number) else { return };
        let Ok(Some(exit)) = running.child.try_wait() else { return };
        let again = running.again;
        let pid = running.child.pid();
        let _ = self.poll.remove(running.child.as_fd());
        self.touch_commands.running.remove(&number);
        let option = self.watch.touches.get(number).map_or("", |touch| touch.option);
        journal!(COMMAND_ENDED, option, pid, cause = %exit, "command {exit}");
        if again && self.ladder.is_none() {
            self.touched(number);
        }
    }

    pub(super) fn reopen_log(&mut self) {
        if self.moments.reopen_logs.reached() {
            info!("opening the log's files anew");
        } else {
            info!("there is no log file to open anew");
        }
    }

    pub(super) fn rotate_log(&mut self) {
        if self.moments.rotate_log.reached() {
            info!("rotating the log file");
        } else {
            info!("there is no log file to rotate");
        }
    }

    /// Watches what a zygote has read. `failed`: not everything could be imported.
    pub(super) fn watch_sources(&mut self, sources: Vec<Source>, failed: bool) {
        if self.watch.autoreload.is_none() {
            return;
        }
        self.watcher.set_sources(sources.into_iter().map(SourceFile::from).collect(), failed);
    }

    /// Watches what a worker has read after its fork.
    pub(super) fn add_sources(&mut self, sources: Vec<Source>) {
        if self.watch.autoreload.is_some() {
            self.watcher.add_sources(sources.into_iter().map(SourceFile::from));
        }
    }

    /// Watches what an application has registered.
    pub(super) fn watch_monitors(&mut self, monitors: Vec<MonitorSpec>) {
        self.watcher.set_monitors(monitors.into_iter().map(Monitor::from).collect());
    }

    /// Watches what a process registers at run time.
    pub(super) fn add_monitor(&mut self, monitor: MonitorSpec) -> Result<(), String> {
        if self.watcher.add_monitor(Monitor::from(monitor)) {
            return Ok(());
        }
        Err(format!("there are {MONITORS_MAX} file monitors already"))
    }
}
