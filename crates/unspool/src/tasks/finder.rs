//! The tasks that a command names, and the spools in which they are looked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unspool_config::Config;
use unspool_core::signing::Keyring;
use unspool_spool::{FindError, SpoolDir, SpoolView, TaskName, Whereabouts, spool_of, task_name};

use super::{WAYS, in_named, lookup};
use crate::cli::SpoolArgs;
use crate::exit;
use crate::security::{self, SecurityError};
use crate::spools::{Source, SpoolsError, check_spool, view_all};

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

/// Looks for tasks, in the spools that the command names and in those of paths. They are opened to look,
/// and to change only where a task was found: a directory that was named by mistake stays as it is.
#[derive(Debug)]
pub(crate) struct Finder<'a> {
    args: &'a SpoolArgs,
    named: Option<Vec<SpoolView>>,
    /// Those of paths that were given.
    by_path: Vec<SpoolView>,
    /// Those of both in which something was found that is to be changed.
    opened: Vec<SpoolDir>,
    config: Option<Box<Config>>,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(args: &'a SpoolArgs) -> Self {
        Self { args, named: None, by_path: Vec::new(), opened: Vec::new(), config: None }
    }

    /// The spools that the command names; an error if one of them is missing.
    pub(crate) fn all(&mut self) -> Result<&[SpoolView], FinderError> {
        self.named(true)
    }

    /// The same; unless it is about all, one that is missing keeps no task of the others from being found.
    fn named(&mut self, is_about_all: bool) -> Result<&[SpoolView], FinderError> {
        if self.named.is_none() {
            let (paths, config) = Source::of(self.args, WAYS)?.run_here()?;
            self.config = config;
            let is_there = |path: &PathBuf| is_about_all || path.try_exists().unwrap_or(true);
            let (there, missing): (Vec<_>, Vec<_>) = paths.into_iter().partition(is_there);
            let views = view_all(if there.is_empty() { missing } else { there })?;
            views.iter().try_for_each(check_spool)?;
            self.named = Some(views);
        }
        Ok(self.named.as_deref().unwrap_or_default())
    }

    /// The keys of the configuration that names the spools, if one does.
    pub(crate) fn keys(&self) -> Result<Option<Arc<Keyring>>, SecurityError> {
        self.config.as_ref().map_or(Ok(None), |config| security::keys(config))
    }

    /// The one task that is named so, and its spool to look at; `None` if there is none.
    pub(crate) fn look(
        &mut self,
        given: &OsStr,
    ) -> Result<Option<(&SpoolView, Whereabouts)>, FinderError> {
        let bytes = given.as_bytes();
        let by_path = if bytes.contains(&b'/') { self.spool_of(Path::new(given))? } else { None };
        let (views, name) = if let Some((path, name)) = by_path {
            let index = self.view(path)?;
            (&self.by_path[index..=index], name)
        } else {
            self.named(false)?;
            (self.named.as_deref().unwrap_or_default(), task_name(bytes)?)
        };
        let found = lookup(&views.iter().collect::<Vec<_>>(), bytes, &name)?;
        Ok(found.map(|(index, task)| (&views[index], task)))
    }

    /// The same, with its spool to change.
    pub(crate) fn find(
        &mut self,
        given: &OsStr,
    ) -> Result<Option<(&SpoolDir, Whereabouts)>, FinderError> {
        let Some((view, task)) = self.look(given)? else { return Ok(None) };
        let path = view.path().to_owned();
        let known = self.opened.iter().position(|spool| spool.path() == path);
        if known.is_none() {
            self.opened.push(SpoolDir::open(&path).map_err(SpoolsError::from)?);
        }
        let index = known.unwrap_or(self.opened.len() - 1);
        Ok(Some((&self.opened[index], task)))
    }

    /// The spool in which a path leads, also of one that only a uWSGI has used, if the command names it.
    fn spool_of(&mut self, path: &Path) -> Result<Option<(PathBuf, TaskName)>, FinderError> {
        if let Some(found) = spool_of(path)? {
            return Ok(Some(found));
        }
        let named = self.all()?.iter().map(|view| view.path().to_owned()).collect::<Vec<_>>();
        Ok(in_named(&named, path))
    }

    fn view(&mut self, path: PathBuf) -> Result<usize, FinderError> {
        if let Some(known) = self.by_path.iter().position(|spool| spool.path() == path) {
            return Ok(known);
        }
        // It is a spool: who may not look at it is told what is missing to change it.
        let view =
            SpoolView::open(&path).map_err(|error| SpoolDir::open(&path).err().unwrap_or(error));
        self.by_path.push(view.map_err(SpoolsError::from)?);
        Ok(self.by_path.len() - 1)
    }
}
