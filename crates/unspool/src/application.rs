//! The application in the foreground: its Python, set up as for a worker, for one command.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use unspool_config::{Config, ConfigError, Environment, Sources, load};
use unspool_supervisor::python_program;
use unspool_sys::document::Document;
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::control::{Import, Setup};

use crate::resolve::{self, ResolveError};

/// The module that runs a command.
const MODULE: &str = "_foreground";

/// An application that cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApplicationError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("the settings of the application cannot be handed over")]
    Settings(#[source] io::Error),
    #[error("cannot start Python, `{python}`; name another one with `virtualenv`")]
    Start { python: PathBuf, source: io::Error },
}

impl ApplicationError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) => crate::exit::USAGE,
            Self::Resolve(error) => error.exit_status(),
            Self::Settings(_) | Self::Start { .. } => crate::exit::FAILED,
        }
    }
}

/// What nothing but a spool says, if there is one.
pub(crate) fn without_configuration(spool: Option<&Path>) -> Result<Config, ConfigError> {
    let option = |path: &Path| [OsString::from("--spooler"), path.as_os_str().to_owned()];
    let args = spool.map(option).into_iter().flatten().collect();
    Ok(load(&Sources { args, environment: Environment::current() })?.config)
}

/// An application, as its configuration names it.
#[derive(Debug)]
pub(crate) struct Application {
    python: PathBuf,
    setup: Setup,
}

impl Application {
    pub(crate) fn of(config: &Config) -> Result<Self, ApplicationError> {
        let python = resolve::python(config)?;
        let mut setup = resolve::setup(config)?;
        setup.version = PROTOCOL_VERSION;
        if setup.spoolers.is_empty() {
            // The decorators look for one of the two before they believe that there is a spooler.
            setup.opt.push(("spooler-external".to_owned(), None));
        }
        Ok(Self { python, setup })
    }

    /// Imports one more module, unless it is imported anyway.
    pub(crate) fn import(&mut self, target: &str) {
        if self.setup.imports.iter().all(|import| import.target != target) {
            let kind = "spooler-import".to_owned();
            self.setup.imports.push(Import { kind, target: target.to_owned(), callable: None });
        }
    }

    /// Whether it imports anything.
    pub(crate) fn imports_anything(&self) -> bool {
        !self.setup.imports.is_empty()
    }

    /// The program that does a job, and what it reads, which has to be kept until it is started.
    pub(crate) fn program(&self, job: &Value) -> Result<(Command, Document), ApplicationError> {
        let document = json!({ "setup": self.setup, "job": job }).to_string();
        let document = Document::new(document.as_bytes()).map_err(ApplicationError::Settings)?;
        let mut program = Command::new(&self.python);
        program.args(["-c", &python_program(MODULE)]).arg(document.number().to_string());
        Ok((program, document))
    }

    /// A start that failed.
    pub(crate) fn not_started(&self, source: io::Error) -> ApplicationError {
        ApplicationError::Start { python: self.python.clone(), source }
    }
}
