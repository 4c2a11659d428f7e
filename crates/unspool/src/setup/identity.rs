//! The user and the groups that the daemon takes on.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use unspool_config::DaemonConfig;
use unspool_spool::Access;
use unspool_sys::{files, host, user};

use super::SetupError;

/// A user or group that cannot be taken on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UnknownIdentity {
    #[error("`{option}`: there is no user `{name}`")]
    User { option: &'static str, name: String },
    #[error("`{option}`: there is no group `{name}`")]
    Group { option: &'static str, name: String },
    #[error("`{option}`: the user `{name}` cannot be looked up")]
    Database { option: &'static str, name: String, source: io::Error },
    #[error(
        "`{option} = {name}` needs root: this process is user {uid}; start it as root, or as \
         `{name}`, or leave `{option}` out"
    )]
    NotRoot { option: &'static str, name: String, uid: u32 },
}

/// Who the process becomes; `None` is left as it is.
#[derive(Debug, Default)]
pub(super) struct Identity {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<u32>>,
    /// For messages.
    name: String,
}

impl Identity {
    /// `immediate-uid` and `immediate-gid`.
    pub(super) fn immediate(config: &DaemonConfig) -> Result<Self, UnknownIdentity> {
        let options = ["immediate-uid", "immediate-gid", "add-gid"];
        Self::of(options, config.immediate_uid.as_deref(), config.immediate_gid.as_deref(), &[])
    }

    /// `uid`, `gid` and `add-gid`.
    pub(super) fn lasting(config: &DaemonConfig) -> Result<Self, UnknownIdentity> {
        let options = ["uid", "gid", "add-gid"];
        Self::of(options, config.uid.as_deref(), config.gid.as_deref(), &config.add_gids)
    }

    fn of(
        options: [&'static str; 3],
        uid: Option<&str>,
        gid: Option<&str>,
        more: &[String],
    ) -> Result<Self, UnknownIdentity> {
        let [uid_option, gid_option, more_option] = options;
        let user = uid.map(|name| find_user(uid_option, name)).transpose()?;
        let group = gid.map(|name| find_group(gid_option, name)).transpose()?;
        let more = more.iter().map(|name| find_group(more_option, name));
        let more = more.collect::<Result<Vec<u32>, _>>()?;
        if !host::is_root() {
            return Self::already(options, (uid, user.as_ref()), (gid, group));
        }
        let known = user.as_ref().and_then(|user| user.known.as_ref());
        // The group of a user that names none is its own: uWSGI would keep that of root.
        let gid = group.or(known.map(|known| known.gid));
        let asked = user.is_some() || gid.is_some() || !more.is_empty();
        let groups = asked.then(|| {
            let primary = gid.unwrap_or_else(host::gid);
            let mut groups = match known {
                Some(known) => user::groups_of(&known.name, primary),
                None => vec![primary],
            };
            groups.extend(more);
            groups.sort_unstable();
            groups.dedup();
            groups
        });
        let name = uid.unwrap_or_default().to_owned();
        Ok(Self { uid: user.map(|user| user.uid), gid, groups, name })
    }

    /// Without root there is nothing to take on, and nobody else to be.
    fn already(
        [uid_option, gid_option, _]: [&'static str; 3],
        (name, user): (Option<&str>, Option<&FoundUser>),
        (group, gid): (Option<&str>, Option<u32>),
    ) -> Result<Self, UnknownIdentity> {
        let uid = host::uid();
        if let Some(name) = name.filter(|_| user.is_some_and(|user| user.uid != uid)) {
            return Err(UnknownIdentity::NotRoot { option: uid_option, name: name.into(), uid });
        }
        if let Some(name) = group.filter(|_| gid.is_some_and(|gid| gid != host::gid())) {
            return Err(UnknownIdentity::NotRoot { option: gid_option, name: name.into(), uid });
        }
        Ok(Self::default())
    }

    /// Becomes it. Returns the user's name, if another one than before was asked for.
    pub(super) fn take_on(&self, option: &'static str) -> Result<Option<String>, SetupError> {
        user::become_user(self.gid, self.groups.as_deref(), self.uid).map_err(|source| {
            SetupError::Become { option, who: format!("`{}`", self.name), source }
        })?;
        Ok(self.uid.is_some_and(|uid| uid != 0).then(|| self.name.clone()))
    }

    /// Makes a spool that is missing, as root and for the user that the daemon becomes. Where others
    /// could meddle, it is left to be made by that user.
    pub(super) fn hand_over(&self, spool: &Path, access: &Access) {
        if self.uid.is_some_and(|uid| uid != 0) && host::is_root() && !spool.exists() {
            // Opening the spool tells what is wrong.
            let (gid, sharing) = (access.group.or(self.gid), access.sharing.unwrap_or_default());
            let _ = files::make_directory_for(spool, self.uid, gid, sharing);
        }
    }

    /// Whose the files of sockets are that are bound before it is taken on.
    pub(super) fn owner(&self) -> (Option<u32>, Option<u32>) {
        (self.uid, self.gid)
    }

    /// Gives the user a file, where it is not the one that runs already.
    pub(super) fn give(&self, file: impl AsFd) -> io::Result<()> {
        if host::is_root() { files::give(file, self.uid, self.gid) } else { Ok(()) }
    }
}

/// A user, known to the system's databases or a number.
#[derive(Debug)]
pub(super) struct FoundUser {
    pub(super) uid: u32,
    known: Option<user::User>,
}

pub(super) fn find_user(option: &'static str, name: &str) -> Result<FoundUser, UnknownIdentity> {
    let failed = |source| UnknownIdentity::Database { option, name: name.to_owned(), source };
    if let Ok(uid) = name.parse::<u32>() {
        let known = user::by_number(uid).map_err(failed)?;
        return Ok(FoundUser { uid, known });
    }
    let known = user::by_name(name).map_err(failed)?;
    let known = known.ok_or_else(|| UnknownIdentity::User { option, name: name.to_owned() })?;
    Ok(FoundUser { uid: known.uid, known: Some(known) })
}

pub(super) fn find_group(option: &'static str, name: &str) -> Result<u32, UnknownIdentity> {
    if let Ok(gid) = name.parse::<u32>() {
        return Ok(gid);
    }
    let failed = |source| UnknownIdentity::Database { option, name: name.to_owned(), source };
    let found = user::group_by_name(name).map_err(failed)?;
    found.ok_or_else(|| UnknownIdentity::Group { option, name: name.to_owned() })
}
