//! Where an option was written, and the option itself as it was read.
//!
//! An [`Origin`] names a place a user can go to: a line of a file, the command line, a variable.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The place an option comes from. Its `Display` form starts every message about that option.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A line of a configuration file; the path is the one the user wrote.
    File { path: Arc<Path>, line: u32 },
    /// An argument of the command.
    CommandLine,
    /// An environment variable, by its name.
    Environment { variable: Arc<str> },
    /// A call of the Python function `unspool.configure`.
    Call,
}

impl Origin {
    pub(crate) fn line(path: &Arc<Path>, line: u32) -> Self {
        Self::File { path: Arc::clone(path), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::CommandLine => formatter.write_str("command line"),
            Self::Call => formatter.write_str("unspool.configure()"),
            Self::Environment { variable } => write!(formatter, "environment variable {variable}"),
        }
    }
}

/// One option as it stands after expansion: comments and blanks inside the value are still there.
///
/// A bare flag of the command line has no value; a bare key of a file has the empty value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: Option<String>,
    pub origin: Origin,
    /// The value takes in something whose name tells a secret.
    pub secret: bool,
}

/// Values may be secrets and stay out.
impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
