//! Who may use what is made in a directory, and the modes that say so.

/// Who besides their owner may use what is made in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody.
    #[default]
    Private,
    /// Its group may read.
    GroupReads,
    /// Its group may read and write.
    GroupWrites,
}

impl Sharing {
    /// The mode of files, whatever the process's umask says.
    pub fn file_mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::GroupReads => 0o640,
            Self::GroupWrites => 0o660,
        }
    }

    /// The mode of directories. Those that are shared hand their group on to what is made in them.
    pub fn folder_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::GroupReads => 0o2750,
            Self::GroupWrites => 0o2770,
        }
    }

    /// What the mode of a directory says; one that does not hand on its group is not shared.
    pub fn of_folder(mode: u32) -> Self {
        match mode & 0o2070 {
            0o2070 => Self::GroupWrites,
            0o2050 => Self::GroupReads,
            _ => Self::Private,
        }
    }
}
