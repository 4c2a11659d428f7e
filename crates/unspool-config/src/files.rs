//! Reading whole text files within a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::ConfigError;
use crate::limits::FILE_BYTES_MAX;
use crate::origin::Origin;

/// The text of a file that `origin` names.
pub(crate) fn read(path: &Path, origin: &Origin) -> Result<String, ConfigError> {
    String::from_utf8(read_bytes(path, origin)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        ConfigError::FileNotUtf8 { path: path.to_owned(), line }
    })
}

/// The text of an ini file, whose comments may be in any encoding.
pub(crate) fn read_ini(path: &Path, origin: &Origin) -> Result<String, ConfigError> {
    let bytes = read_bytes(path, origin)?;
    let mut text = String::with_capacity(bytes.len());
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_)
                if line.trim_ascii_start().starts_with(b"#")
                    || line.trim_ascii_start().starts_with(b";") =>
            {
                text.push_str(&String::from_utf8_lossy(line));
            }
            Err(_) => {
                return Err(ConfigError::FileNotUtf8 { path: path.to_owned(), line: number + 1 });
            }
        }
    }
    Ok(text)
}

fn read_bytes(path: &Path, origin: &Origin) -> Result<Vec<u8>, ConfigError> {
    let failed =
        |source| ConfigError::ReadFile { origin: origin.clone(), path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(ConfigError::FileTooLarge {
            origin: origin.clone(),
            path: path.to_owned(),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    Ok(bytes)
}
