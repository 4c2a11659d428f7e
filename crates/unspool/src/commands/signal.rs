//! `unspool run --stop PIDFILE` and `--reload PIDFILE`: a signal to the daemon that a file names.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unspool_sys::process::{self, Notice};

use crate::exit;
use crate::logging::complain;
use crate::setup;

#[derive(Debug, thiserror::Error)]
enum SignalError {
    #[error("`--{option}` needs a pid file; write `unspool run --{option} FILE`")]
    NoFile { option: &'static str },
    #[error("`--{option}`: the pid file `{path}` cannot be read")]
    Unreadable { option: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`--{option}`: `{path}` holds no process number: it is no pid file")]
    NoNumber { option: &'static str, path: PathBuf },
    #[error(
        "`--{option}`: `{path}` names process {pid}, which does not run; the daemon has ended, and \
         the file is left from it"
    )]
    Ended { option: &'static str, path: PathBuf, pid: u32 },
    #[error(
        "`--{option}`: `{path}` names process {pid}, which is `{name}` and no unspool; the file is \
         left from a daemon that has ended"
    )]
    Another { option: &'static str, path: PathBuf, pid: u32, name: String },
    #[error("`--{option}`: process {pid} cannot be told")]
    Refused { option: &'static str, pid: u32, source: std::io::Error },
}

impl SignalError {
    fn exit_status(&self) -> u8 {
        if matches!(self, Self::NoFile { .. }) { exit::USAGE } else { exit::FAILED }
    }
}

const ASKED: [(&str, Notice); 2] = [("stop", Notice::Stop), ("reload", Notice::Reload)];

/// Does what such an option asks for, wherever it stands, as uWSGI does. `None`: there is none.
pub(super) fn run(args: &[OsString]) -> Option<u8> {
    let (option, notice, path) = args.iter().enumerate().find_map(|(at, argument)| {
        ASKED.iter().find_map(|(option, notice)| {
            let rest = argument.as_bytes().strip_prefix(b"--")?.strip_prefix(option.as_bytes())?;
            match rest {
                [] => Some((*option, *notice, args.get(at + 1).map(PathBuf::from))),
                [b'=', path @ ..] => Some((*option, *notice, Some(OsStr::from_bytes(path).into()))),
                _ => None,
            }
        })
    })?;
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let sent = match path {
        Some(path) => send(option, notice, &path),
        None => Err(SignalError::NoFile { option }),
    };
    Some(match sent {
        Ok(()) => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    })
}

fn send(option: &'static str, notice: Notice, path: &Path) -> Result<(), SignalError> {
    let owned = || path.to_owned();
    if let Err(source) = std::fs::File::open(path) {
        return Err(SignalError::Unreadable { option, path: owned(), source });
    }
    let pid =
        setup::read_pid(path).ok_or_else(|| SignalError::NoNumber { option, path: owned() })?;
    // Held from here on, so that its number cannot become another process's.
    let child = match process::Child::open(pid) {
        Ok(child) => child,
        Err(error) if process::is_gone(&error) => {
            return Err(SignalError::Ended { option, path: owned(), pid });
        }
        Err(source) => return Err(SignalError::Refused { option, pid, source }),
    };
    if let Some(name) = process::executable(pid).filter(|name| name != "unspool") {
        return Err(SignalError::Another { option, path: owned(), pid, name });
    }
    match child.notify(notice) {
        Ok(()) => Ok(()),
        Err(error) if process::is_gone(&error) => {
            Err(SignalError::Ended { option, path: owned(), pid })
        }
        Err(source) => Err(SignalError::Refused { option, pid, source }),
    }
}
