//! How much a spool may hold, and how much of its file system it leaves free.

/// Bounds of one spool, as its submitters know them; `None`: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolBounds {
    /// Tasks that may be pending: waiting, delayed or running.
    pub tasks: Option<u64>,
    /// Bytes that the files of those may have.
    pub bytes: Option<u64>,
    /// What a submission leaves free.
    pub free: Option<FreeFloor>,
}

impl SpoolBounds {
    /// Whether pending tasks have to be counted.
    pub fn count(&self) -> bool {
        self.tasks.is_some() || self.bytes.is_some()
    }
}

/// What stays free of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeFloor {
    /// So many bytes, and as large a share of the inodes as that is of the bytes.
    Bytes(u64),
    /// So many hundredths of a percent of the bytes and of the inodes.
    Share(u16),
}

impl FreeFloor {
    /// All of a file system, as [`FreeFloor::Share`].
    pub const WHOLE: u16 = 10_000;

    /// The floor of bytes, and that of inodes, of a file system with so many of each.
    pub fn of(self, bytes: u64, inodes: u64) -> (u64, u64) {
        let share = |all: u64, part: u64, whole: u64| {
            let floor = u128::from(all) * u128::from(part) / u128::from(whole.max(1));
            u64::try_from(floor).unwrap_or(u64::MAX)
        };
        match self {
            Self::Bytes(floor) => (floor, share(inodes, floor.min(bytes), bytes)),
            Self::Share(part) => {
                let of = |all| share(all, part.into(), Self::WHOLE.into());
                (of(bytes), of(inodes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_of_bytes_is_the_same_share_of_the_inodes() {
        assert_eq!(FreeFloor::Bytes(250).of(1000, 80), (250, 20));
        assert_eq!(FreeFloor::Bytes(5000).of(1000, 80), (5000, 80));
        assert_eq!(FreeFloor::Share(250).of(1000, 80), (25, 2));
        assert_eq!(FreeFloor::Share(FreeFloor::WHOLE).of(u64::MAX, 0), (u64::MAX, 0));
        assert_eq!(FreeFloor::Bytes(1).of(0, 0), (1, 0));
    }
}
