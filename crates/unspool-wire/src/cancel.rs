//! Cancelling a task: what a daemon is asked, and what it answers.

use serde::{Deserialize, Serialize};

/// Seconds that a task may be given to end by itself: a day.
pub const GRACE_MAX: f64 = 86_400.0;

/// A task is to be cancelled, if the daemon has it. Its place in the spool follows the object and a
/// zero byte: its name, or its folder, a slash and its name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "cancel")]
pub struct Cancel {
    /// Seconds from being told until its worker is killed, if it runs.
    pub grace: f64,
    /// Whether the answer comes when it has ended; else as soon as it is told.
    pub wait: bool,
}

/// What became of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It had not been started, and is deleted.
    Removed,
    /// It was told to end.
    Stopping,
    /// It was told to end, has ended, and is deleted.
    Stopped,
    /// It did not end in time. Its worker was killed, and it is deleted.
    Killed,
    /// It is done.
    Gone,
    /// This daemon does not have it.
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Asked, Reply, Request};

    #[test]
    fn what_is_sent_is_understood() {
        let cancel = Cancel { grace: 1.5, wait: true };
        let text = serde_json::to_string(&cancel).unwrap();
        assert_eq!(text, r#"{"type":"cancel","grace":1.5,"wait":true}"#);
        let asked: Asked = serde_json::from_str(&text).unwrap();
        assert_eq!(asked, Asked { worker: 0, request: Request::Cancel(cancel) });
        let reply = Reply::Cancelled { task: Fate::Elsewhere };
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(text, r#"{"type":"cancelled","task":"elsewhere"}"#);
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        assert!(serde_json::from_str::<Asked>(r#"{"type":"cancel","grace":"x"}"#).is_err());
    }
}
