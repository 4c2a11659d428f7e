//! Whole configurations: files on disk, arguments and variables in, settings and messages out.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod daemon;
mod docs;
mod every_option;
mod golden;
mod hooks;
mod messages;
mod network;
mod robust;
mod settings;
mod watch;
mod web;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;
use unspool_config::{ConfigError, Environment, Loaded, Sources, load};

/// Loads with these words as arguments in this directory, and no variables.
fn load_in(directory: &Path, arguments: &str) -> Result<Loaded, ConfigError> {
    load_with(directory, arguments, &[])
}

fn load_with(
    directory: &Path,
    arguments: &str,
    variables: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    load(&Sources {
        args: arguments.split_whitespace().map(OsString::from).collect(),
        environment: Environment::from_pairs(variables.iter().copied())
            .with_current_directory(directory)
            .with_hostname("vm"),
    })
}

/// A directory with `app.ini` in it, under `[uwsgi]`.
fn with_ini(lines: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(&directory, "app.ini", format!("[uwsgi]\n{lines}").as_bytes());
    directory
}

fn write(directory: &TempDir, name: &str, content: &[u8]) {
    let mut file = File::create(directory.path().join(name)).expect("a new file");
    file.write_all(content).expect("a written file");
}

fn load_ini(lines: &str) -> Result<Loaded, ConfigError> {
    let directory = with_ini(lines);
    load_in(directory.path(), "--ini app.ini")
}
