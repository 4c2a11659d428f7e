//! Trust: whose tasks run, and whose pickles are loaded.
//!
//! Owns both rules. A task's file is judged on its bytes, its owner and its mode, before anything of
//! it is parsed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unspool_core::Origin;
use unspool_core::limits::KEY_FILE_BYTES_MAX;
use unspool_core::signing::{InvalidKeys, Keyring};
use unspool_core::taskfile::{BadSignature, origin_of, verify};
use unspool_sys::files;
use unspool_sys::folder::Stat;

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file cannot be read.
    #[error("`{option}`: cannot read `{path}`")]
    Read {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or change it.
    #[error(
        "`{option}`: `{path}` has mode {mode:04o}, with which others can read or change the keys: \
         run `chmod 600 {path}` (640 where a group shares it), and make new keys if somebody may \
         have read these"
    )]
    Open {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its content gives no keys.
    #[error("`{option}`: `{path}` is no file of keys")]
    Invalid {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: InvalidKeys,
    },
    /// It is no file of keys.
    #[error("`{option}`: `{path}` has more than {KEY_FILE_BYTES_MAX} bytes: it is no file of keys")]
    TooLarge {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file of keys, which others must not be able to read.
pub fn load_keys(path: &Path) -> Result<Keyring, KeysError> {
    load_keys_of("spooler-keys", path)
}

/// The same for a file that another option names.
pub fn load_keys_of(option: &'static str, path: &Path) -> Result<Keyring, KeysError> {
    let path = || path.to_owned();
    let (stat, text) = files::read_secret(&path(), KEY_FILE_BYTES_MAX)
        .map_err(|source| KeysError::Read { option, path: path(), source })?;
    // A group may read it, since those who share a spool share its keys.
    if stat.mode & 0o027 != 0 {
        return Err(KeysError::Open { option, path: path(), mode: stat.mode });
    }
    if text.len() > KEY_FILE_BYTES_MAX {
        return Err(KeysError::TooLarge { option, path: path() });
    }
    Keyring::parse(&text).map_err(|source| KeysError::Invalid { option, path: path(), source })
}

/// Whom the runner of tasks trusts. By default every file runs, and pickles are loaded from files of
/// our own user and of root.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Where there are keys, a task must be signed with one of them.
    pub keys: Option<Arc<Keyring>>,
    /// Users whose files count as if they were signed.
    pub unsigned_uids: Vec<u32>,
    /// Whether pickles are loaded from tasks that anybody may have sent over the network.
    pub network_pickle: bool,
}

/// A task that does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There are keys, and none of them signed it.
    #[error("{0} (its file belongs to uid {1}; see `spooler-keys` and `spooler-unsigned-uids`)")]
    Signature(BadSignature, u32),
    /// Its bytes are no task's.
    #[error("its unspool mark is damaged")]
    Damaged,
}

/// What stands behind the bytes of a task that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    signed: bool,
    owner: u32,
    mode: u32,
    origin: Origin,
}

impl Standing {
    /// A task that nobody gave: what a process makes for itself.
    pub const OWN: Self = Self { signed: true, owner: 0, mode: 0, origin: Origin::Local };
}

impl Trust {
    /// Whether a task may run, from the bytes of its file and what the system says of that.
    pub fn admit(&self, file: &[u8], stat: &Stat) -> Result<Standing, Refused> {
        let (owner, mode, origin) = (stat.owner, stat.mode, origin_of(file));
        let mut standing = Standing { signed: false, owner, mode, origin };
        let Some(keys) = &self.keys else { return Ok(standing) };
        match verify(file, keys) {
            Ok(()) => standing.signed = true,
            Err(BadSignature::Mark) => return Err(Refused::Damaged),
            Err(BadSignature::Missing) if self.counts_as_signed(standing) => {}
            Err(error) => return Err(Refused::Signature(error, stat.owner)),
        }
        Ok(standing)
    }

    /// Why this process, of the user `uid`, must not load pickles of such a task; `None`: it may.
    /// Loading one can run any code.
    pub fn refuse_pickles(&self, standing: Standing, uid: u32) -> Option<String> {
        let Standing { signed, owner, mode, origin } = standing;
        if origin == Origin::Network && !signed {
            // Whoever stored it says nothing of who sent it.
            return (!self.network_pickle).then(|| NETWORK_PICKLE.to_owned());
        }
        if signed || is_own(standing, uid) || self.counts_as_signed(standing) {
            return None;
        }
        let why = if is_its_owners(standing) {
            format!("belongs to uid {owner}")
        } else {
            format!("can be written by others than its owner (mode {mode:04o})")
        };
        Some(format!(
            "the arguments of this task are pickled, and its file {why} and is not signed: pickles are \
             loaded only from files of this user (uid {uid}) and of root, and from signed ones; set \
             `spooler-keys` for those who submit and those who run"
        ))
    }

    /// Whether owner and mode of a file make it as good as one that this process, of the user `uid`, wrote.
    pub fn vouches_for(&self, stat: &Stat, origin: Origin, uid: u32) -> bool {
        let standing = Standing { signed: false, owner: stat.owner, mode: stat.mode, origin };
        origin != Origin::Network && (is_own(standing, uid) || self.counts_as_signed(standing))
    }

    fn counts_as_signed(&self, standing: Standing) -> bool {
        standing.origin == Origin::Local
            && self.unsigned_uids.contains(&standing.owner)
            && is_its_owners(standing)
    }
}

/// Why pickles of the network are not loaded.
const NETWORK_PICKLE: &str = "the arguments of this task are pickled, and it came over the network from a \
     peer that proved nothing, or that relayed a file of another user: give both sides the same \
     `network-keys`, or sign tasks with `spooler-keys`; `spooler-network-pickle = true` lets anybody who can connect run any code here";

fn is_own(standing: Standing, uid: u32) -> bool {
    [0, uid].contains(&standing.owner) && is_its_owners(standing)
}

/// Whether the bytes of a file are its owner's alone.
fn is_its_owners(standing: Standing) -> bool {
    standing.mode & 0o022 == 0
}
