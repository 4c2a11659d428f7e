//! The options about what the daemon watches besides its spools: files whose touch does something,
//! the sources of the application, and FIFOs for commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ConfigError;
use crate::hooks;
use crate::notice::Notice;
use crate::origin::Origin;
use crate::values::Value;

/// What the daemon watches besides its spools.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Watched {
    /// In the order of the options.
    pub touches: Vec<Touch>,
    /// From `py-autoreload`: how often the application's files are looked at where the system
    /// sends no events.
    pub autoreload: Option<Duration>,
    /// Modules whose files `py-autoreload` leaves out.
    pub autoreload_ignore: Vec<String>,
    /// Absolute, by slot.
    pub master_fifos: Vec<PathBuf>,
    /// A reload stops the daemon instead.
    pub exit_on_reload: bool,
}

/// A file whose touch does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The option's name.
    pub option: &'static str,
    /// Absolute; relative ones are relative to `chdir`.
    pub path: PathBuf,
    pub action: TouchAction,
    pub origin: Origin,
}

/// What follows from a touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TouchAction {
    Reload,
    /// A shell command.
    Exec(String),
    /// A uwsgi signal.
    Signal(u8),
    ReopenLog,
    /// The log file is moved away and begun anew.
    RotateLog,
}

/// Slots of `master-fifo`: a command is one digit.
const FIFOS_MAX: usize = 10;
/// As many files as this under `touch-` options are a mistake.
const TOUCHES_MAX: usize = 1024;

impl Touch {
    /// The value as `unspool config` shows it.
    pub(crate) fn shown(&self) -> String {
        let path = self.path.to_string_lossy();
        match &self.action {
            TouchAction::Exec(command) if self.option == "hook-touch" => {
                format!("{path} exec:{command}")
            }
            TouchAction::Exec(command) => format!("{path} {command}"),
            TouchAction::Signal(number) => format!("{path} {number}"),
            TouchAction::Reload | TouchAction::ReopenLog | TouchAction::RotateLog => {
                path.into_owned()
            }
        }
    }
}

impl Watched {
    /// Carries one option out; whether this option is one of those here.
    pub(crate) fn apply(
        &mut self,
        value: Value<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, ConfigError> {
        let option = match value.name() {
            "touch-reload" => "touch-reload",
            "touch-workers-reload" => "touch-workers-reload",
            "touch-chain-reload" => "touch-chain-reload",
            "touch-spoolers-reload" => "touch-spoolers-reload",
            "touch-mules-reload" => "touch-mules-reload",
            "fs-reload" => "fs-reload",
            "touch-logreopen" => "touch-logreopen",
            "touch-logrotate" => "touch-logrotate",
            "touch-exec" => "touch-exec",
            "hook-touch" => "hook-touch",
            "touch-signal" => "touch-signal",
            "py-auto-reload" | "py-autoreload" | "python-auto-reload" | "python-autoreload" => {
                self.autoreload = Some(value.seconds()?).filter(|interval| !interval.is_zero());
                return Ok(true);
            }
            // Taken by uWSGI too.
            "py-auto-reload-ignore" | "master-fifo" if value.is_empty() => {
                notices.push(no_effect(value, "its value is empty"));
                return Ok(true);
            }
            "py-auto-reload-ignore" => {
                self.autoreload_ignore.push(value.plain()?.to_owned());
                return Ok(true);
            }
            "master-fifo" => {
                if self.master_fifos.len() >= FIFOS_MAX {
                    return Err(value.invalid("there are ten slots, 0 to 9; remove one"));
                }
                self.master_fifos.push(PathBuf::from(value.plain()?));
                return Ok(true);
            }
            "exit-on-reload" => {
                self.exit_on_reload = value.switch();
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.add_touch(option, value, notices)?;
        Ok(true)
    }

    fn add_touch(
        &mut self,
        option: &'static str,
        value: Value<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), ConfigError> {
        if value.is_empty() {
            notices.push(no_effect(value, "its value is empty"));
            return Ok(());
        }
        if self.touches.len() >= TOUCHES_MAX {
            return Err(value.invalid("there are 1024 such options already; remove one"));
        }
        let (path, action) = match option {
            "touch-exec" => {
                // What looks like a comment may be a part of the command.
                let Some((path, command)) = split(value.text()) else {
                    notices.push(no_effect(value, "it names no command; write `FILE COMMAND`"));
                    return Ok(());
                };
                (path, TouchAction::Exec(command.to_owned()))
            }
            "hook-touch" => {
                let Some((path, action)) = split(value.text()) else {
                    return Err(value.invalid("write `FILE exec:COMMAND`"));
                };
                let Some(command) = hooks::touch_command(action) else {
                    notices.push(no_effect(
                        value,
                        "a touched file can only have `exec:COMMAND` run; write `FILE exec:COMMAND`",
                    ));
                    return Ok(());
                };
                (path, TouchAction::Exec(command.to_owned()))
            }
            "touch-signal" => {
                let Some((path, number)) = split(value.plain()?) else {
                    notices.push(no_effect(value, "it names no signal; write `FILE NUMBER`"));
                    return Ok(());
                };
                let number = number.parse().map_err(|_| {
                    value.invalid("this names no uwsgi signal; write `FILE NUMBER`, 0 to 255")
                })?;
                (path, TouchAction::Signal(number))
            }
            "touch-logreopen" => (value.plain()?, TouchAction::ReopenLog),
            "touch-logrotate" => (value.plain()?, TouchAction::RotateLog),
            _ => (value.plain()?, TouchAction::Reload),
        };
        let origin = value.origin().clone();
        self.touches.push(Touch { option, path: PathBuf::from(path), action, origin });
        Ok(())
    }

    /// Makes paths absolute, now that `chdir` is known.
    pub(crate) fn join(&mut self, base: &Path) {
        for touch in &mut self.touches {
            touch.path = base.join(&touch.path);
        }
        for path in &mut self.master_fifos {
            *path = base.join(&*path);
        }
    }
}

/// The file and what stands behind it.
fn split(value: &str) -> Option<(&str, &str)> {
    let (path, rest) = value.split_once([' ', '\t'])?;
    Some((path, rest.trim_start())).filter(|(path, rest)| !path.is_empty() && !rest.is_empty())
}

/// As in uWSGI, which starts with such an option and does nothing about it.
fn no_effect(value: Value<'_>, reason: &'static str) -> Notice {
    let (name, origin) = (value.name().to_owned(), value.origin().clone());
    Notice::NoEffect { name, origin, reason }
}
