//! How a task came to its spool.

/// Where a task came from, as whoever stored it knows. Handlers are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Origin {
    /// Somebody who can write in the spool wrote it there.
    #[default]
    Local,
    /// Over the network, from anybody.
    Network,
    /// Over the network, from somebody who proved to be allowed: with a key, a certificate or a uid.
    Peer,
}

impl Origin {
    /// The word for it in a task file; none for what is local.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Local => None,
            Self::Network => Some("network"),
            Self::Peer => Some("peer"),
        }
    }

    /// Reads such a word.
    pub(crate) fn read(word: &[u8]) -> Option<Self> {
        match word {
            b"network" => Some(Self::Network),
            b"peer" => Some(Self::Peer),
            _ => None,
        }
    }
}
