//! Options about who may use a spool and whose tasks run.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::settings::List;
use crate::values::Value;

/// Whose tasks run, and who may use the directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// `spooler-keys`: the file of keys with which tasks are signed. Absolute.
    pub keys: Option<PathBuf>,
    /// `spooler-unsigned-uids`: users, by name or number, whose files count as signed.
    pub unsigned_uids: Vec<String>,
    /// `spooler-strict-permissions`: a spool in which others can write is refused.
    pub strict_permissions: bool,
    /// `spooler-mode`: the mode of new files.
    pub mode: Option<FileMode>,
    /// `spooler-group`: by name or number.
    pub group: Option<String>,
}

/// The modes that files of a spool may have; directories have those that go with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 600
    Owner,
    /// 640
    GroupReads,
    /// 660
    GroupWrites,
}

impl FileMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "600",
            Self::GroupReads => "640",
            Self::GroupWrites => "660",
        }
    }
}

impl SecurityOptions {
    /// Carries an option out; whether it is one of these.
    pub(crate) fn apply(&mut self, value: Value<'_>, start: &Path) -> Result<bool, ConfigError> {
        match value.name() {
            "spooler-keys" => self.keys = Some(start.join(value.plain()?)),
            "spooler-unsigned-uids" => {
                let names = value.plain()?.split([',', ' ', '\t']).filter(|name| !name.is_empty());
                self.unsigned_uids.extend(names.map(str::to_owned));
            }
            "spooler-strict-permissions" => self.strict_permissions = value.switch(),
            "spooler-mode" => {
                self.mode = Some(match value.plain()?.trim_start_matches('0') {
                    "600" => FileMode::Owner,
                    "640" => FileMode::GroupReads,
                    "660" => FileMode::GroupWrites,
                    _ => {
                        return Err(value.invalid(
                            "write 600, 640 or 660, the mode of task files: what everybody could \
                             write, anybody could have run",
                        ));
                    }
                });
            }
            "spooler-group" => self.group = Some(value.plain()?.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A group alone is named to share the spool with it.
    pub(crate) fn finish(&mut self) {
        if self.group.is_some() && self.mode.is_none() {
            self.mode = Some(FileMode::GroupWrites);
        }
    }

    pub(crate) fn list(&self, list: &mut List<'_>) {
        list.some("spooler-keys", self.keys.as_deref().map(Path::display));
        if !self.unsigned_uids.is_empty() {
            list.one("spooler-unsigned-uids", self.unsigned_uids.join(","));
        }
        if self.strict_permissions {
            list.one("spooler-strict-permissions", true);
        }
        list.some("spooler-mode", self.mode.map(FileMode::as_str));
        list.some("spooler-group", self.group.as_deref());
    }
}
