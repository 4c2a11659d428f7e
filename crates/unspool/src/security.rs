//! Who may use the spools and whose tasks run, from names to numbers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use unspool_config::{Config, FileMode, NetworkOptions};
use unspool_core::signing::Keyring;
use unspool_spool::{Access, KeysError, Trust, load_keys};
use unspool_sys::folder::Sharing;
use unspool_sys::user;
use unspool_wire::control::{Network, Security};

use crate::exit;

/// Options that name nobody, or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SecurityError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("`{option}`: there is no group `{name}`")]
    Group { option: &'static str, name: String },
    #[error("`{option}`: there is no user `{name}`")]
    User { option: &'static str, name: String },
    #[error("`{option}`: `{name}` cannot be looked up")]
    Database { option: &'static str, name: String, source: io::Error },
    #[error("`{option}`: `{path}` is not UTF-8 text")]
    Text { option: &'static str, path: String },
}

impl SecurityError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Keys(KeysError::Read { .. }) | Self::Database { .. } => exit::FAILED,
            _ => exit::USAGE,
        }
    }
}

/// The keys that sign, if there are any.
pub(crate) fn keys(config: &Config) -> Result<Option<Arc<Keyring>>, SecurityError> {
    Ok(config.security.keys.as_deref().map(load_keys).transpose()?.map(Arc::new))
}

/// Whose tasks run, and whose pickles are loaded.
pub(crate) fn trust(config: &Config) -> Result<Trust, SecurityError> {
    let Security { unsigned_uids, network_pickle, .. } = of_workers(config)?;
    Ok(Trust { keys: keys(config)?, unsigned_uids, network_pickle })
}

/// What the directories have to be.
pub(crate) fn access(config: &Config) -> Result<Access, SecurityError> {
    let options = &config.security;
    let sharing = options.mode.map(|mode| match mode {
        FileMode::Owner => Sharing::Private,
        FileMode::GroupReads => Sharing::GroupReads,
        FileMode::GroupWrites => Sharing::GroupWrites,
    });
    let group = options.group.as_deref().map(|name| group("spooler-group", name)).transpose()?;
    Ok(Access { sharing, group, strict: options.strict_permissions })
}

/// The same for the application's processes.
pub(crate) fn of_workers(config: &Config) -> Result<Security, SecurityError> {
    let Access { sharing, group, strict } = access(config)?;
    let path = config.security.keys.as_deref();
    let text = |path: &std::path::Path| {
        let lossy =
            || SecurityError::Text { option: "spooler-keys", path: path.display().to_string() };
        path.to_str().map(str::to_owned).ok_or_else(lossy)
    };
    Ok(Security {
        keys: path.map(text).transpose()?,
        unsigned_uids: config
            .security
            .unsigned_uids
            .iter()
            .map(|name| uid("spooler-unsigned-uids", name))
            .collect::<Result<_, _>>()?,
        mode: sharing.map(Sharing::file_mode),
        group,
        strict,
        network_pickle: config.network.pickle,
    })
}

/// How the application's processes submit to other machines.
pub(crate) fn network_of_workers(config: &Config) -> Result<Network, SecurityError> {
    let NetworkOptions { keys, ca, certificate, certificate_key, .. } = &config.network;
    let text = |option, path: &Option<PathBuf>| {
        let lossy =
            |path: &PathBuf| SecurityError::Text { option, path: path.display().to_string() };
        path.as_ref()
            .map(|path| path.to_str().map(str::to_owned).ok_or_else(|| lossy(path)))
            .transpose()
    };
    Ok(Network {
        keys: text("network-keys", keys)?,
        ca: text("network-ca", ca)?,
        certificate: text("network-certificate", certificate)?,
        certificate_key: text("network-certificate-key", certificate_key)?,
    })
}

/// The number of a group, by name or number.
pub(crate) fn group(option: &'static str, name: &str) -> Result<u32, SecurityError> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    user::group_by_name(name)
        .map_err(|source| database(option, name, source))?
        .ok_or_else(|| SecurityError::Group { option, name: name.to_owned() })
}

/// The number of a user, by name or number.
pub(crate) fn uid(option: &'static str, name: &str) -> Result<u32, SecurityError> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    user::by_name(name)
        .map_err(|source| database(option, name, source))?
        .map(|user| user.uid)
        .ok_or_else(|| SecurityError::User { option, name: name.to_owned() })
}

fn database(option: &'static str, name: &str, source: io::Error) -> SecurityError {
    SecurityError::Database { option, name: name.to_owned(), source }
}
