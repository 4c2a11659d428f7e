//! What the fuzz targets share: a bound on memory, a folder for files, the reading of a
//! configuration. One target is one file of `fuzz_targets`; `seeds` makes what they start from.

pub mod config;
pub mod damage;
pub mod memory;
pub mod message;
pub mod scratch;
