//! Every bound of this crate. Exceeding one is an error that names the place.

/// Bytes of one configuration file, and of a file pasted with `@(file)`.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files that may be open around a line: an `include` in an `include` and so on.
pub(crate) const INCLUDE_DEPTH_MAX: usize = 16;
/// Options of all sources together, loops unrolled.
pub(crate) const OPTIONS_MAX: usize = 65_536;
/// Files that are read, each as often as it is.
pub(crate) const FILES_MAX: usize = 1024;
/// Bytes of the names and values of all options together, and of one file with its magic variables
/// filled in.
pub(crate) const OPTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one value after its placeholders are filled in.
pub(crate) const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Paths that one glob pattern may yield.
pub(crate) const GLOB_PATHS_MAX: usize = 16_384;
/// Variables of one `envdir`, whose values have no more than [`OPTION_BYTES_MAX`] together.
pub(crate) const ENVDIR_VARIABLES_MAX: usize = 4096;
