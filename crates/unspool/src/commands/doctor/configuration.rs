//! The configuration: whether it can be read, what of it has no effect, and who the daemon is.

use std::path::{Path, PathBuf};

use unspool_config::{Config, Loaded, Notice};

use super::Findings;
use crate::cli::DoctorOptions;
use crate::display::shell_path;
use crate::spools::{Source, SpoolsError};
use crate::{relays, resolve, setup};

/// How a spool is named here.
const WAYS: &str = "the configuration that the daemon is started with, or --spooler DIR";

/// What is looked at.
#[derive(Debug)]
pub(super) struct SetUp {
    pub(super) spools: Vec<PathBuf>,
    /// The configuration that names them, and its file, if one does.
    pub(super) config: Option<Box<Config>>,
    pub(super) file: Option<PathBuf>,
}

/// Looks at it, and becomes the user that the daemon is: what is found then is so for that user.
pub(super) fn look(options: &DoctorOptions) -> (Findings, Option<SetUp>) {
    let mut found = Findings::of("configuration");
    match Source::of_set_up(&options.set_up, WAYS) {
        Ok(Source::Directory(directory)) => {
            found.note("no configuration is named: the application is not looked at");
            (found, Some(SetUp { spools: vec![directory], config: None, file: None }))
        }
        Ok(Source::Config(file, loaded)) => {
            let Loaded { config, notices, .. } = *loaded;
            let shown = file.display();
            found.fine(format!("{shown} can be read"));
            tell_notices(&mut found, &notices, &file);
            look_at_identity(&mut found, &config);
            let paths = resolve::spool_paths(&config);
            let relays = relays::relays(&config).next().is_some();
            if paths.is_empty() && !relays {
                found.problem(
                    format!("{shown} names no spool"),
                    "add a line `spooler = DIR` to the section [uwsgi]",
                );
            }
            let config = Some(Box::new(config));
            (found, Some(SetUp { spools: paths, config, file: Some(file) }))
        }
        Err(error @ SpoolsError::None { .. }) => {
            found.problem(error.to_string(), "`unspool doctor app.ini`, for example");
            (found, None)
        }
        Err(error) => {
            found.error(&error);
            (found, None)
        }
    }
}

fn tell_notices(found: &mut Findings, notices: &[Notice], file: &Path) {
    for notice in notices.iter().filter(|notice| !matches!(notice, Notice::Printed { .. })) {
        found.warning(
            notice.to_string(),
            format!("`unspool config {}` shows each setting and its effect", shell_path(file)),
        );
    }
}

fn look_at_identity(found: &mut Findings, config: &Config) {
    if let Err(error) = resolve::check(config) {
        found.error(&error);
    }
    match setup::check(&config.daemon).and_then(|()| setup::take_on_user(&config.daemon)) {
        Ok(None) => {}
        Ok(Some(user)) => {
            found.note(format!("the daemon is `{user}`, and what follows is so for it"));
        }
        Err(error) if error.is_about_root() => found.warning(
            crate::logging::with_causes(&error),
            "run this as root, or as that user: what follows is so for the user that you are",
        ),
        Err(error) => found.error(&error),
    }
}
