//! The bounds that more than one crate needs, named with their unit last.

/// Bytes of the pairs of a task file: the header stores their length in 16 bits.
pub const PAIRS_BYTES_MAX: usize = 65_535;

/// Bytes of one key. Values may be longer (they overflow into the body), keys may not.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Bytes of a whole task file: what one `read` call of a real uWSGI can take.
pub const TASK_BYTES_MAX: u64 = (1 << 31) - 4096;

/// Bytes of a priority: one file name.
pub const PRIORITY_BYTES_MAX: usize = 64;

/// Bytes of the name of a function's module: well within [`PEEK_BYTES`].
pub const MODULE_BYTES_MAX: usize = 200;

/// Bytes of the name of a signing key.
pub const KEY_NAME_BYTES_MAX: usize = 32;

/// Bytes of a signing key: as many as its MAC has, so that guessing the one is no easier than guessing
/// the other.
pub const SIGNING_KEY_BYTES_MIN: usize = 32;

/// Keys in one file, and bytes of that file.
pub const SIGNING_KEYS_MAX: usize = 64;
/// See [`SIGNING_KEYS_MAX`].
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that the dispatcher reads of a task file to learn its function and its length.
pub const PEEK_BYTES: usize = 1024;

/// Tasks handed to one worker and not yet reported, the running one included. One message carries
/// a descriptor for each, and the kernel takes 253 descriptors a message.
pub const HANDED_MAX: usize = 64;

/// Nanoseconds of expected work that is handed to a worker ahead of need.
pub const AHEAD_NS_MAX: u64 = 5_000_000;

/// Nanoseconds after which a task that was handed out and has not started is taken back, when
/// another worker is idle.
pub const REVOKE_AFTER_NS: u64 = 20_000_000;

/// Nanoseconds between two times that a daemon says how many tasks are pending.
pub const COUNT_SET_EVERY_NS: u64 = 10_000_000;

/// Nanoseconds after which a count that no daemon keeps is old; and times as long as it took, if that
/// is more.
pub const COUNT_QUIET_NS: u64 = 1_000_000_000;
/// See [`COUNT_QUIET_NS`].
pub const COUNT_SHARE_QUIET: u64 = 100;

/// Nanoseconds between two listings of a spool that is full; and times as long as the last one took, if
/// that is more.
pub const COUNT_EVERY_NS_MIN: u64 = 1_000_000;
/// See [`COUNT_EVERY_NS_MIN`].
pub const COUNT_SHARE_FULL: u64 = 10;

/// Tasks up to which a submitter lists a full spool though a daemon keeps its count.
pub const COUNT_SMALL_TASKS: u64 = 10_000;

/// Nanoseconds that a submitter waits for whoever changes the count, and, where there is none yet, for
/// whoever makes it.
pub const COUNT_LOCK_NS_MAX: u64 = 20_000_000;
/// See [`COUNT_LOCK_NS_MAX`].
pub const COUNT_WAIT_NS_MAX: u64 = 10_000_000_000;

/// Worker processes of one daemon, those of an earlier generation included.
pub const WORKERS_MAX: usize = 8192;

/// Sockets that web workers accept on: with their fork come these and three more descriptors, and a
/// packet has at most 64.
pub const WEB_SOCKETS_MAX: usize = 60;

/// Functions whose durations the dispatcher remembers.
pub const FUNCTIONS_MAX: usize = 4096;

/// Bytes of an error text (a traceback) that a worker reports.
pub const REPORT_TEXT_BYTES_MAX: usize = 48 * 1024;

/// Bytes of one packet between the daemon and its children.
pub const PACKET_BYTES_MAX: usize = 128 * 1024;
