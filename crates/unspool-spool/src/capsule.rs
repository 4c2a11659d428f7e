//! Capsule: one task with all that is known of it as one file, to look at or run it elsewhere.
//!
//! A JSON object; `task` has the bytes of its file in base64. It goes with whoever copies it: nothing of
//! it refers to the spool that it came from.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use unspool_core::taskfile::{Malformed, TaskFile};

use crate::attempts::{Attempt, read_attempts};
use crate::layout::submitted_at_ns;
use crate::list::Listed;
use crate::{SpoolView, Whereabouts};

/// The form that this code writes and reads.
const VERSION: u32 = 1;

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capsule {
    /// Its form.
    pub unspool_capsule: u32,
    /// The version of the unspool that wrote it.
    pub unspool: String,
    /// The machine on which it was written.
    pub host: String,
    /// The name of the task's file.
    pub name: String,
    /// The folder in which that lay; absent: the spool itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// When it was submitted, in seconds since 1970.
    pub submitted_at: f64,
    /// When it was due, in seconds since 1970.
    pub due_at: f64,
    /// The user to whom its file belonged.
    pub owner: u32,
    /// The bytes of its file.
    #[serde(with = "in_base64")]
    pub task: Vec<u8>,
    /// Its failed attempts, the oldest first.
    pub attempts: Vec<Attempt>,
}

/// A file that is no capsule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CapsuleError {
    /// It is none.
    #[error("it is no capsule, which is a JSON object with `unspool_capsule`")]
    Format(#[from] serde_json::Error),
    /// A newer unspool made it.
    #[error("it has the form {found}, newer than this unspool's {VERSION}: update unspool")]
    Newer {
        /// The form.
        found: u32,
    },
    /// The task in it is none.
    #[error("the task in it is damaged")]
    Task(#[from] Malformed),
}

impl Capsule {
    /// What is known of a task; `None` if it is gone, or may not be read.
    pub fn of(spool: &SpoolView, listed: &Listed) -> io::Result<Option<Self>> {
        let Some((stat, task)) = listed.read()? else { return Ok(None) };
        let folder = match listed.whereabouts() {
            Whereabouts::Pending(place) => {
                place.priority.as_ref().map(|p| String::from_utf8_lossy(p.as_bytes()).into_owned())
            }
            Whereabouts::Kept(kept, _) => Some(kept.as_str().to_owned()),
        };
        Ok(Some(Self {
            unspool_capsule: VERSION,
            unspool: env!("CARGO_PKG_VERSION").to_owned(),
            host: String::from_utf8_lossy(&unspool_sys::host::hostname()).into_owned(),
            name: String::from_utf8_lossy(listed.name()).into_owned(),
            folder,
            submitted_at: submitted_at_ns(listed.folder(), listed.name(), &stat) as f64 / 1e9,
            due_at: stat.mtime_ns as f64 / 1e9,
            owner: stat.owner,
            task,
            attempts: read_attempts(spool, listed.name())?,
        }))
    }

    /// Reads one, and looks whether its task is whole.
    pub fn parse(text: &[u8]) -> Result<Self, CapsuleError> {
        /// What every form has.
        #[derive(Deserialize)]
        struct Form {
            unspool_capsule: u32,
        }
        let Form { unspool_capsule: found } = serde_json::from_slice(text)?;
        if found > VERSION {
            return Err(CapsuleError::Newer { found });
        }
        let capsule: Self = serde_json::from_slice(text)?;
        TaskFile::parse(&capsule.task)?;
        Ok(capsule)
    }
}

mod in_base64 {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BASE64_STANDARD, Engine};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}
