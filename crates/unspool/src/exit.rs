//! Exit statuses. Documented in `docs/reference/cli.md`; scripts rely on them.

/// Everything was done.
pub(crate) const OK: u8 = 0;
/// Something failed that a second try may mend.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
