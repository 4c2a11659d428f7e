//! Options of `unspool init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of `unspool init`.
#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// Only this file; repeatable.
    #[arg(long, value_name = "FILE")]
    pub(crate) only: Vec<StarterFile>,
    /// Write nothing: print the files.
    #[arg(long)]
    pub(crate) print: bool,
    /// Replace files that are there. Never a `tasks.py`.
    #[arg(long, conflicts_with = "print")]
    pub(crate) force: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder of the application, made if it is missing.
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

/// A file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StarterFile {
    #[value(name = "unspool.ini")]
    Ini,
    #[value(name = "tasks.py")]
    Tasks,
    #[value(name = "unspool.service")]
    Unit,
    #[value(name = "Dockerfile")]
    Dockerfile,
}

impl StarterFile {
    /// In the order in which they are written.
    pub(crate) const ALL: [Self; 4] = [Self::Ini, Self::Tasks, Self::Unit, Self::Dockerfile];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ini => "unspool.ini",
            Self::Tasks => "tasks.py",
            Self::Unit => "unspool.service",
            Self::Dockerfile => "Dockerfile",
        }
    }
}
