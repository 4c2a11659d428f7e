//! Which spools a command is about: what it names, or else the environment.

use std::io;
use std::path::{Path, PathBuf};

use unspool_config::{
    CONFIG_VARIABLE, Config, ConfigError, Environment, Loaded, Origin, ProducerSource, load_file,
    spool_from_environment,
};
use unspool_spool::{OpenError, SpoolDir, SpoolView};

use crate::cli::{SetUpArgs, SpoolArgs};
use crate::logging::complain;
use crate::{exit, resolve};

/// A command is about no spool that is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SpoolsError {
    #[error("no spool: give {ways}, or set UNSPOOL_SPOOL or UNSPOOL_CONFIG")]
    None {
        /// How the command names one.
        ways: &'static str,
    },
    #[error("`{file}` names no spool: it has no `spooler` option")]
    NoneInConfig { file: PathBuf },
    #[error("spool directory `{path}` is missing")]
    Missing { path: PathBuf },
    #[error(
        "`{path}` is no spool: no task lies in it, and unspool was never started on it; name the \
         directory that `spooler` names in the configuration"
    )]
    NoSpool { path: PathBuf },
    #[error("cannot look at the spool directory `{path}`")]
    Look { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl SpoolsError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::None { .. } | Self::NoneInConfig { .. } | Self::Config(_) => exit::USAGE,
            Self::Missing { .. } | Self::NoSpool { .. } | Self::Look { .. } | Self::Open(_) => {
                exit::FAILED
            }
        }
    }
}

/// What names the spools.
#[derive(Debug)]
pub(crate) enum Source {
    /// The one that it is.
    Directory(PathBuf),
    /// The file, and what it says.
    Config(PathBuf, Box<Loaded>),
}

impl Source {
    /// That of a command with these options. `ways` says which ones it has.
    pub(crate) fn find(
        spooler: Option<&Path>,
        config: Option<&Path>,
        ways: &'static str,
    ) -> Result<Self, SpoolsError> {
        if let Some(directory) = spooler {
            return Ok(Self::Directory(directory.to_owned()));
        }
        let environment = Environment::current();
        let (file, origin) = match config {
            Some(file) => (file.to_owned(), Origin::CommandLine),
            None => match spool_from_environment(&environment) {
                None => return Err(SpoolsError::None { ways }),
                Some(ProducerSource::Spool(directory)) => return Ok(Self::Directory(directory)),
                Some(ProducerSource::Config(file)) => {
                    (file, Origin::Environment { variable: CONFIG_VARIABLE.into() })
                }
            },
        };
        let loaded = load_file(&file, &origin, &environment)?;
        Ok(Self::Config(file, Box::new(loaded)))
    }

    /// That of a command with the options that most have.
    pub(crate) fn of(args: &SpoolArgs, ways: &'static str) -> Result<Self, SpoolsError> {
        Self::find(args.spooler.as_deref(), args.config.as_deref(), ways)
    }

    /// That of a command that takes a configuration as its argument.
    pub(crate) fn of_set_up(args: &SetUpArgs, ways: &'static str) -> Result<Self, SpoolsError> {
        Self::find(args.spooler.as_deref(), args.config.as_deref(), ways)
    }

    /// The configuration, if one is named.
    pub(crate) fn config(self) -> Option<Box<Config>> {
        match self {
            Self::Directory(_) => None,
            Self::Config(_, loaded) => Some(Box::new(loaded.config)),
        }
    }

    /// The directories of the spools that are run, and of outboxes, and the configuration, if one names them.
    pub(crate) fn run_here(self) -> Result<(Vec<PathBuf>, Option<Box<Config>>), SpoolsError> {
        match self {
            Self::Directory(directory) => Ok((vec![directory], None)),
            Self::Config(file, loaded) => {
                let config = Box::new(loaded.config);
                let paths = resolve::spool_and_outbox_paths(&config);
                if paths.is_empty() {
                    return Err(SpoolsError::NoneInConfig { file });
                }
                Ok((paths, Some(config)))
            }
        }
    }
}

/// Opens those of several spools that can be looked at, and complains of the others: an exit status that
/// says whether there were any. An error if none can be.
pub(crate) fn view_those(paths: Vec<PathBuf>) -> Result<(Vec<SpoolView>, u8), SpoolsError> {
    let mut views = Vec::new();
    let mut failed = None;
    for path in paths {
        match view_all(vec![path]) {
            Ok(view) => views.extend(view),
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    complain(&earlier);
                }
            }
        }
    }
    let status = match failed {
        Some(error) if views.is_empty() => return Err(error),
        Some(error) => {
            complain(&error);
            exit::FAILED
        }
        None => exit::OK,
    };
    Ok((views, status))
}

/// Opens spools to look at them.
pub(crate) fn view_all(paths: Vec<PathBuf>) -> Result<Vec<SpoolView>, SpoolsError> {
    let open = |path: PathBuf| {
        check_there(&path)?;
        Ok(SpoolView::open(&path)?)
    };
    paths.into_iter().map(open).collect()
}

/// Complains of a directory that is missing; what has the name and is none is told so when it is opened.
pub(crate) fn check_there(path: &Path) -> Result<(), SpoolsError> {
    let path = path.to_owned();
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(SpoolsError::Missing { path }),
        Err(source) => Err(SpoolsError::Look { path, source }),
    }
}

/// Complains of a directory that is no spool: it is not made one by a command that finds nothing there.
pub(crate) fn check_spool(view: &SpoolView) -> Result<(), SpoolsError> {
    let path = || view.path().to_owned();
    match view.is_spool() {
        Ok(true) => Ok(()),
        Ok(false) => Err(SpoolsError::NoSpool { path: path() }),
        Err(source) => Err(SpoolsError::Look { path: path(), source }),
    }
}

/// Opens a spool in which something is to be changed: what is only looked at stays as it is.
pub(crate) fn to_change(view: &SpoolView) -> Result<SpoolDir, SpoolsError> {
    check_spool(view)?;
    Ok(SpoolDir::open(view.path())?)
}

/// Opens spools whose directories are there: a new one would hold nothing that is asked for.
pub(crate) fn open_all(paths: Vec<PathBuf>) -> Result<Vec<SpoolDir>, SpoolsError> {
    let open = |path: PathBuf| {
        check_there(&path)?;
        Ok(SpoolDir::open(&path)?)
    };
    paths.into_iter().map(open).collect()
}
