//! Exit statuses. Documented in `docs/reference/cli.md`; scripts rely on them.

/// Everything was done.
pub(crate) const OK: u8 = 0;
/// Something failed that a second try may mend.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// There was nothing to do: what was to be changed is not there.
pub(crate) const NOTHING: u8 = 3;
/// Somebody holds it who takes no requests.
pub(crate) const HELD: u8 = 4;
/// The application cannot be imported and is needed; uWSGI's status.
pub(crate) const NO_APPLICATION: u8 = 22;

/// Of two statuses the one that asks for more attention.
pub(crate) fn worse(a: u8, b: u8) -> u8 {
    let rank = |status: u8| match status {
        OK => 0,
        NOTHING => 1,
        HELD => 2,
        FAILED => 3,
        _ => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}
