//! Directories of variables, as `envdir` of daemontools and uWSGI reads them: a file's name is the
//! variable, its content the value.

use std::fs;
use std::path::Path;

use crate::error::ConfigError;
use crate::files;
use crate::limits::{ENVDIR_VARIABLES_MAX, OPTION_BYTES_MAX};
use crate::origin::Origin;

/// The variables, in the order of their names. An empty file takes its variable away; blanks and
/// newlines at the end of a value, and what follows a NUL byte, do not count.
pub(crate) fn read(
    directory: &Path,
    origin: &Origin,
) -> Result<Vec<(String, Option<String>)>, ConfigError> {
    let failed = |source| ConfigError::ReadFile {
        origin: origin.clone(),
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if name.starts_with('.') || name.contains('=') || !path.is_file() {
            continue;
        }
        if found.len() >= ENVDIR_VARIABLES_MAX {
            let origin = origin.clone();
            return Err(ConfigError::TooManyOptions { origin, options_max: ENVDIR_VARIABLES_MAX });
        }
        let content = files::read(&path, origin)?;
        bytes += content.len();
        if bytes > OPTION_BYTES_MAX {
            let (origin, bytes_max) = (origin.clone(), OPTION_BYTES_MAX);
            return Err(ConfigError::OptionsTooLong { origin, bytes_max });
        }
        let value = content.split('\0').next().unwrap_or_default().trim_end().to_owned();
        found.push((name, (!content.is_empty()).then_some(value)));
    }
    found.sort();
    Ok(found)
}
