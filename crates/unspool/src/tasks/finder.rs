//! The tasks that a command names, and the spools in which they are looked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unspool_config::Config;
use unspool_core::signing::Keyring;
use unspool_spool::{FindError, SpoolDir, Whereabouts, spool_of, task_name};

use super::{WAYS, lookup};
use crate::cli::SpoolArgs;
use crate::exit;
use crate::security::{self, SecurityError};
use crate::spools::{Source, SpoolsError, open_all};

/// Tasks cannot be looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FinderError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error(transparent)]
    Find(#[from] FindError),
}

impl FinderError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Find(FindError::Io { .. } | FindError::Path { .. }) => exit::FAILED,
            Self::Find(_) => exit::USAGE,
        }
    }
}

/// Looks for tasks, in the spools that the command names and in those of paths.
#[derive(Debug)]
pub(crate) struct Finder<'a> {
    args: &'a SpoolArgs,
    named: Option<Vec<SpoolDir>>,
    /// Those of paths that were given.
    by_path: Vec<SpoolDir>,
    config: Option<Box<Config>>,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(args: &'a SpoolArgs) -> Self {
        Self { args, named: None, by_path: Vec::new(), config: None }
    }

    /// The spools that the command names.
    pub(crate) fn all(&mut self) -> Result<&[SpoolDir], FinderError> {
        if self.named.is_none() {
            let (paths, config) = Source::of(self.args, WAYS)?.run_here()?;
            self.config = config;
            self.named = Some(open_all(paths)?);
        }
        Ok(self.named.as_deref().unwrap_or_default())
    }

    /// The keys of the configuration that names the spools, if one does.
    pub(crate) fn keys(&self) -> Result<Option<Arc<Keyring>>, SecurityError> {
        self.config.as_ref().map_or(Ok(None), |config| security::keys(config))
    }

    /// The one task that is named so; `None` if there is none.
    pub(crate) fn find(
        &mut self,
        given: &OsStr,
    ) -> Result<Option<(&SpoolDir, Whereabouts)>, FinderError> {
        let bytes = given.as_bytes();
        let spool_of = || if bytes.contains(&b'/') { spool_of(Path::new(given)) } else { Ok(None) };
        let mut by_path = spool_of()?;
        if by_path.is_none() && self.named.is_none() {
            self.all()?;
            // Opening them has made spools of directories that only a uWSGI had used.
            by_path = spool_of()?;
        }
        let (spools, name) = if let Some((path, name)) = by_path {
            let index = self.open(path)?;
            (&self.by_path[index..=index], name)
        } else {
            (self.named.as_deref().unwrap_or_default(), task_name(bytes)?)
        };
        let views: Vec<_> = spools.iter().map(SpoolDir::view).collect();
        let found = lookup(&views, bytes, &name)?;
        Ok(found.map(|(index, task)| (&spools[index], task)))
    }

    fn open(&mut self, path: PathBuf) -> Result<usize, FinderError> {
        if let Some(known) = self.by_path.iter().position(|spool| spool.path() == path) {
            return Ok(known);
        }
        self.by_path.push(SpoolDir::open(&path).map_err(SpoolsError::from)?);
        Ok(self.by_path.len() - 1)
    }
}
