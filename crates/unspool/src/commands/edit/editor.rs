//! A task's arguments as text, in the editor of whoever asks.
//!
//! The text is a JSON object. It lies in a file of this user alone while the editor runs, and the task
//! is not held meanwhile.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use unspool_config::Environment;
use unspool_core::Message;
use unspool_sys::Folder;
use unspool_sys::file::write_all;
use unspool_sys::folder::os_str;
use unspool_sys::host;
use unspool_sys::signal::pass_over_interrupts;

use super::change::{Change, is_pickled};

/// Where the text lies.
const DIRECTORY: &str = "/tmp";
/// The editor if nothing names one.
const EDITOR: &str = "vi";

/// An editor that led to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EditorError {
    #[error("cannot write the text to be edited into `{DIRECTORY}`")]
    Write(#[source] io::Error),
    #[error("cannot start the editor `{editor}`; VISUAL or EDITOR names another one")]
    Start { editor: String, source: io::Error },
    #[error("the editor `{editor}` ended with {status}: nothing is changed{}", kept(left.as_deref()))]
    Failed { editor: String, status: ExitStatus, left: Option<PathBuf> },
    #[error("the editor removed `{path}`: nothing is changed; save the text under its own name")]
    Removed { path: PathBuf },
    #[error("cannot let the editor have Ctrl-C")]
    Signals(#[source] io::Error),
    #[error("`{path}` is left as it was saved: it {why}; nothing is changed")]
    Text { path: PathBuf, why: String },
    #[error("the arguments are pickled, and cannot be edited as text")]
    Pickled,
}

fn kept(left: Option<&Path>) -> String {
    left.map(|path| format!("; what was saved is in `{}`", path.display())).unwrap_or_default()
}

/// The file with what somebody typed: it is removed by whoever has made use of it, else it stays.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) path: PathBuf,
}

impl Typed {
    pub(crate) fn remove(&self) {
        if let (Some(name), Ok(folder)) =
            (self.path.file_name(), Folder::open(Path::new(DIRECTORY)))
        {
            let _ = folder.unlink(name.as_encoded_bytes());
        }
    }
}

/// Shows a task in the editor. `None` if nothing was changed.
pub(crate) fn edit(message: &Message) -> Result<Option<(Change, Typed)>, EditorError> {
    if is_pickled(message) {
        return Err(EditorError::Pickled);
    }
    // Ctrl-C is for the editor: it must not leave the text behind, or end this while somebody types.
    pass_over_interrupts().map_err(EditorError::Signals)?;
    let before = text_of(message);
    let shown = format!("{before:#}\n");
    let typed = Typed { path: write(&shown).map_err(EditorError::Write)? };
    let path = &typed.path;
    let read = run(path, &shown).and_then(|()| {
        let wrong = |why: String| EditorError::Text { path: path.clone(), why };
        let text = std::fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => EditorError::Removed { path: path.clone() },
            _ => wrong(format!("cannot be read: {error}")),
        })?;
        let after: Value = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("is no JSON object: {error}")))?;
        change(message, &before, &after).map_err(wrong)
    });
    match read {
        Ok(Some(change)) => return Ok(Some((change, typed))),
        Err(EditorError::Text { .. } | EditorError::Failed { left: Some(_), .. }) => {}
        _ => typed.remove(),
    }
    read.map(|_| None)
}

fn write(text: &str) -> io::Result<PathBuf> {
    let random = u64::from_le_bytes(host::random()?);
    let name = format!("unspool-edit-{random:016x}.json").into_bytes();
    let folder = Folder::open(Path::new(DIRECTORY))?;
    let file = folder.create(&name)?;
    write_all(file.as_fd(), text.as_bytes())?;
    Ok(Path::new(DIRECTORY).join(os_str(&name)))
}

fn run(path: &Path, shown: &str) -> Result<(), EditorError> {
    let environment = Environment::current();
    let named = |name| environment.variable(name).filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR"));
    let editor = editor.map_or_else(|| EDITOR.to_owned(), |name| name.to_string_lossy().into());
    // As others do: the variable may hold options.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(path);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let saved = std::fs::read(path).is_ok_and(|text| text != shown.as_bytes());
            Err(EditorError::Failed { editor, status, left: saved.then(|| path.to_owned()) })
        }
        Err(source) => Err(EditorError::Start { editor, source }),
    }
}

/// A task as text. What is no text is in base64.
fn text_of(message: &Message) -> Value {
    let pairs = message
        .pairs
        .iter()
        .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value_of(value)));
    json!({ "arguments": pairs.collect::<Map<String, Value>>(), "body": value_of(&message.body) })
}

fn value_of(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

fn bytes_of(key: &str, value: &Value) -> Result<Vec<u8>, String> {
    let in_base64 = || value.get("base64").and_then(Value::as_str);
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        _ => in_base64()
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .ok_or_else(|| format!("has for `{key}` neither text nor an object with `base64`")),
    }
}

/// The difference between two texts of a task.
fn change(message: &Message, before: &Value, after: &Value) -> Result<Option<Change>, String> {
    let arguments = |text: &Value| text.get("arguments").and_then(Value::as_object).cloned();
    let (old, Some(new)) = (arguments(before).unwrap_or_default(), arguments(after)) else {
        return Err("has no object `arguments`".to_owned());
    };
    let mut change = Change::default();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            change.set.push((key.clone().into_bytes(), bytes_of(key, value)?));
        }
    }
    // By its bytes: a key that is no text is shown otherwise.
    for (key, _) in &message.pairs {
        if !new.contains_key(&*String::from_utf8_lossy(key)) && !change.unset.contains(key) {
            change.unset.push(key.clone());
        }
    }
    if before.get("body") != after.get("body") {
        let body = after.get("body").map(|body| bytes_of("body", body)).transpose()?;
        change.body = Some(body.unwrap_or_default());
    }
    Ok(change.is_of_content().then_some(change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_what_is_changed() {
        let pairs = vec![
            (b"a".to_vec(), b"1".to_vec()),
            (b"gone".to_vec(), b"x".to_vec()),
            (b"raw".to_vec(), b"\xff\x00".to_vec()),
        ];
        let message = Message { pairs, body: b"body".to_vec(), ..Message::default() };
        let before = text_of(&message);
        assert_eq!(before["arguments"]["raw"], json!({"base64": "/wA="}));
        assert!(change(&message, &before, &before).unwrap().is_none());
        let mut after = before.clone();
        after["arguments"]["a"] = "2".into();
        after["arguments"]["new"] = json!({"base64": "AAE="});
        after["arguments"].as_object_mut().unwrap().remove("gone");
        after.as_object_mut().unwrap().remove("body");
        let found = change(&message, &before, &after).unwrap().unwrap();
        let set = vec![(b"a".to_vec(), b"2".to_vec()), (b"new".to_vec(), vec![0, 1])];
        assert_eq!((found.set, found.unset), (set, vec![b"gone".to_vec()]));
        assert_eq!(found.body, Some(Vec::new()));
        after["arguments"]["a"] = 2.into();
        assert!(change(&message, &before, &after).unwrap_err().contains("neither text"));
        assert!(change(&message, &before, &json!([])).is_err());
    }
}
