//! A folder of the process for the files that a target reads. Whoever starts the target gives it a
//! folder in memory as `TMPDIR` and removes that.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder").keep())
}

/// A file of it with this content.
pub fn write(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, content).expect("a file in the temporary folder");
    path
}
