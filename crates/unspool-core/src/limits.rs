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

/// Worker processes of one daemon, those of an earlier generation included.
pub const WORKERS_MAX: usize = 8192;

/// Functions whose durations the dispatcher remembers.
pub const FUNCTIONS_MAX: usize = 4096;

/// Bytes of an error text (a traceback) that a worker reports.
pub const REPORT_TEXT_BYTES_MAX: usize = 48 * 1024;

/// Bytes of one packet between the daemon and its children.
pub const PACKET_BYTES_MAX: usize = 128 * 1024;
