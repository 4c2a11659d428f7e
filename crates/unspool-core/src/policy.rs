//! What a submitter asks for: how durable a task is when the submission returns.

use std::str::FromStr;

/// When a submission returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Durability {
    /// The task survives the death of the process, not of the machine.
    None,
    /// File and directory are flushed before the submission returns.
    File,
    /// The promise of `File`; submitters that wait at the same time may share flushes.
    #[default]
    Group,
}

/// A durability level that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown durability `{given}`: use `none`, `file` or `group`")]
pub struct UnknownDurability {
    /// What was given.
    pub given: String,
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "file" => Ok(Self::File),
            "group" => Ok(Self::Group),
            _ => Err(UnknownDurability { given: text.to_owned() }),
        }
    }
}
