//! What is to be otherwise in a task, and what of it may be.
//!
//! The rules are those of a submission, as far as a file that is there can follow them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use unspool_core::Message;
use unspool_core::due::{InvalidAt, parse_at};
use unspool_core::taskfile::{KEY_AT, KEY_FUNCTION, KEY_PRIORITY, KEY_SPOOLER};
use unspool_sys::clock;

/// The argument that is the body and no pair.
const KEY_BODY: &[u8] = b"body";
/// Where `pass_arguments` keeps what is pickled.
const PICKLED: [&[u8]; 2] = [b"args", b"kwargs"];
/// What every pickle since protocol 2 starts with.
const PICKLE_START: u8 = 0x80;

/// A change that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidChange {
    #[error("argument `{argument}` is not of the form key=value")]
    Argument { argument: String },
    #[error("`{key}` is given twice: give it once")]
    Twice { key: String },
    #[error("`spooler` chooses a spool when a task is submitted: a task cannot be sent elsewhere")]
    Spooler,
    #[error(
        "`priority` is the folder in which the task lies: use `unspool mv --priority` or `--none`"
    )]
    Priority,
    #[error("the task has no argument `{key}`")]
    Missing { key: String },
    #[error(
        "the arguments of this task are pickled (`pass_arguments`): key=value cannot change them. Cancel \
         it and submit it anew from Python; its body and its due time can be changed"
    )]
    Pickled,
    #[error(transparent)]
    At(#[from] InvalidAt),
}

/// What is to be otherwise.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) set: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) unset: Vec<Vec<u8>>,
    pub(crate) body: Option<Vec<u8>>,
    /// In nanoseconds since 1970.
    pub(crate) due_ns: Option<i64>,
}

impl Change {
    /// Reads `key=value`.
    pub(crate) fn of(arguments: &[OsString], unset: &[OsString]) -> Result<Self, InvalidChange> {
        let mut change = Self::default();
        for argument in arguments {
            let bytes = argument.as_bytes();
            let at = bytes.iter().position(|b| *b == b'=').filter(|at| *at > 0);
            let at = at.ok_or_else(|| InvalidChange::Argument { argument: text(bytes) })?;
            change.set.push((bytes[..at].to_vec(), bytes[at + 1..].to_vec()));
        }
        change.unset = unset.iter().map(|key| key.as_bytes().to_vec()).collect();
        let keys: Vec<&[u8]> = change.keys().collect();
        if let Some(twice) = keys.iter().enumerate().find(|(n, key)| keys[..*n].contains(key)) {
            return Err(InvalidChange::Twice { key: text(twice.1) });
        }
        Ok(change)
    }

    /// Whether the task's file has to be written anew.
    pub(crate) fn is_of_content(&self) -> bool {
        !self.set.is_empty() || !self.unset.is_empty() || self.body.is_some()
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let set = self.set.iter().map(|(key, _)| key.as_slice());
        set.chain(self.unset.iter().map(Vec::as_slice))
    }

    /// Makes it. Returns the due time that it asks for.
    pub(crate) fn make(mut self, message: &mut Message) -> Result<Option<i64>, InvalidChange> {
        if let Some(at) = self.set.iter().position(|(key, _)| key == KEY_BODY) {
            let (key, body) = self.set.remove(at);
            if self.body.replace(body).is_some() {
                return Err(InvalidChange::Twice { key: text(&key) });
            }
        }
        if self.unset.iter().any(|key| key == KEY_BODY) {
            self.unset.retain(|key| key != KEY_BODY);
            self.body = Some(Vec::new());
        }
        if self.keys().any(|key| key == KEY_SPOOLER) {
            return Err(InvalidChange::Spooler);
        }
        if self.keys().any(|key| key == KEY_PRIORITY) {
            return Err(InvalidChange::Priority);
        }
        if is_pickled(message) && self.keys().any(|key| key != KEY_AT) {
            return Err(InvalidChange::Pickled);
        }
        for key in &self.unset {
            if message.get(key).is_none() {
                return Err(InvalidChange::Missing { key: text(key) });
            }
            message.pairs.retain(|(other, _)| other != key);
        }
        for (key, value) in self.set {
            if key == KEY_AT {
                if self.due_ns.is_some() {
                    return Err(InvalidChange::Twice { key: text(&key) });
                }
                self.due_ns = Some(parse_at(&value)?.unwrap_or_else(clock::now_ns));
            }
            if key == KEY_FUNCTION && message.get(&key) != Some(&value) {
                // Nothing says that the other one is of the same module.
                message.module.clear();
            }
            set(message, key, value);
        }
        if let Some(body) = self.body {
            message.body = body;
        }
        Ok(self.due_ns)
    }
}

/// The last pair of a key is the one that counts; it keeps its place.
fn set(message: &mut Message, key: Vec<u8>, value: Vec<u8>) {
    match message.pairs.iter().rposition(|(other, _)| *other == key) {
        Some(last) => {
            message.pairs[last].1 = value;
            let mut at = 0;
            message.pairs.retain(|(other, _)| {
                at += 1;
                *other != key || at > last
            });
        }
        None => message.pairs.push((key, value)),
    }
}

/// Whether the arguments of a task are pickles.
pub(crate) fn is_pickled(message: &Message) -> bool {
    PICKLED.iter().all(|key| message.get(key).is_some_and(|v| v.first() == Some(&PICKLE_START)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pairs: &[(&str, &[u8])]) -> Message {
        let pair = |(k, v): &(&str, &[u8])| (k.as_bytes().to_vec(), v.to_vec());
        let module = b"tasks".to_vec();
        Message { pairs: pairs.iter().map(pair).collect(), module, ..Message::default() }
    }

    fn made(arguments: &[&str], unset: &[&str], to: &[(&str, &[u8])]) -> Result<Message, String> {
        let os = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
        let mut message = message(to);
        let change = Change::of(&os(arguments), &os(unset));
        let made = change.and_then(|change| change.make(&mut message));
        made.map(|_| message).map_err(|error| error.to_string())
    }

    #[test]
    fn values_change_in_their_place() {
        let task: &[(&str, &[u8])] =
            &[("ud_spool_func", b"f"), ("a", b"0"), ("b", b"2"), ("a", b"1"), ("c", b"3")];
        let changed = made(&["a=9", "d=", "body=x"], &["c"], task).unwrap();
        let expected: &[(&str, &[u8])] =
            &[("ud_spool_func", b"f"), ("b", b"2"), ("a", b"9"), ("d", b"")];
        assert!(changed.pairs == message(expected).pairs);
        assert_eq!(
            (changed.body.as_slice(), changed.module.as_slice()),
            (&b"x"[..], &b"tasks"[..])
        );
        let other = made(&["ud_spool_func=g"], &[], task).unwrap();
        assert!(other.module.is_empty());
    }

    #[test]
    fn what_a_file_cannot_follow_is_refused() {
        let task: &[(&str, &[u8])] = &[("ud_spool_func", b"f"), ("a", b"1")];
        for (arguments, unset, why) in [
            (&["a"][..], &[][..], "not of the form"),
            (&["=1"], &[], "not of the form"),
            (&["a=1", "a=2"], &[], "twice"),
            (&["a=1"], &["a"], "twice"),
            (&["spooler=/x"], &[], "sent elsewhere"),
            (&["priority=5"], &[], "unspool mv"),
            (&["at=soon"], &[], "no time"),
            (&[], &["nothing"], "no argument `nothing`"),
        ] {
            let error = made(arguments, unset, task).unwrap_err();
            assert!(error.contains(why), "{arguments:?} {unset:?}: {error}");
        }
        let pickled: &[(&str, &[u8])] = &[("args", b"\x80\x04)."), ("kwargs", b"\x80\x04}.")];
        assert!(made(&["x=1"], &[], pickled).unwrap_err().contains("pickled"));
        assert!(made(&["at=5", "body=x"], &[], pickled).is_ok());
    }
}
