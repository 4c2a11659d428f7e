//! Garbage: temporary files of submitters that died.

use unspool_sys::clock;

use crate::SpoolDir;

/// A submission takes milliseconds; a temporary file that old has no writer.
const TMP_AGE_NS: i64 = 24 * 3600 * 1_000_000_000;

/// Deletes temporary files older than a day. Failures are left for the next time.
pub fn collect_garbage(spool: &SpoolDir) {
    let Ok(listing) = spool.tmp.list() else { return };
    for (name, _) in listing.flatten() {
        let old = spool
            .tmp
            .stat(&name)
            .ok()
            .flatten()
            .is_some_and(|stat| clock::now_ns() - stat.ctime_ns > TMP_AGE_NS);
        if old {
            let _ = spool.tmp.unlink(&name);
        }
    }
}
