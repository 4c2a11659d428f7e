//! Whether what a crash left is what the specification says it may leave.
//!
//! A state is laid out on a real file system and looked at by the code that looks at a spool after
//! a start: tasks are claimed and parsed, what is no task goes to `corrupt/`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use unspool_core::Durability;
use unspool_core::taskfile::TaskFile;
use unspool_spool::{
    Claimed, SchedulePlace, SpoolDir, claim, is_task_name, quarantine, read_adoption, read_all,
};
use unspool_sys::Folder;

use crate::scenarios::{Fact, names, priorities};

/// What may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Nothing: only processes died.
    Processes,
    /// What was not flushed.
    Power,
}

/// Files that may be run, by their path in the spool; the count of attempts is made 0.
type Tasks = BTreeMap<String, Vec<u8>>;

/// Looks at `path/spool`. `whole` are the contents that were ever written whole, with 0 attempts.
pub(crate) fn judge(
    path: &Path,
    facts: &[Fact],
    whole: &[Vec<u8>],
    crash: Crash,
) -> Result<(), String> {
    let top = path.join("spool");
    let before = contents(&top);
    let spool = SpoolDir::open(&top).map_err(|error| format!("cannot open the spool: {error}"))?;
    let tasks = recover(&spool)?;
    for (name, content) in &tasks {
        if !whole.contains(content) {
            return Err(format!("`{name}` would run and was never written: {content:?}"));
        }
    }
    let after = contents(&top);
    for content in &before {
        if !after.contains(content) {
            return Err(format!("the recovery deleted a file of {} bytes", content.len()));
        }
    }
    facts
        .iter()
        .enumerate()
        .try_for_each(|(at, fact)| check(fact, &facts[at + 1..], &spool, &tasks, &after, crash))?;
    recover(&spool).and_then(|again| {
        if again == tasks { Ok(()) } else { Err("a second recovery finds something else".into()) }
    })
}

fn check(
    fact: &Fact,
    later: &[Fact],
    spool: &SpoolDir,
    tasks: &Tasks,
    contents: &[Vec<u8>],
    crash: Crash,
) -> Result<(), String> {
    match fact {
        Fact::Acknowledged { path, durability } => {
            let promised = crash == Crash::Processes || *durability != Durability::None;
            let left = later
                .iter()
                .any(|fact| matches!(fact, Fact::Leaving { path: p } if p == path))
                && !later.iter().any(|fact| matches!(fact, Fact::Stays { path: p } if p == path));
            let name = relative(path);
            if promised && !left && !tasks.contains_key(&name) {
                return Err(format!("`{name}` was acknowledged and is lost"));
            }
        }
        Fact::Kept { content } => {
            let copies = contents.iter().filter(|other| *other == content).count();
            if copies != 1 {
                return Err(format!("a file that is to be kept is there {copies} times"));
            }
        }
        Fact::Adopted => match read_adoption(spool) {
            Ok(Some(_)) => {}
            other => return Err(format!("the record of the adoption: {other:?}")),
        },
        Fact::Taken { minute } => {
            let place = SchedulePlace::in_spool(spool, "key".to_owned());
            let store = place.and_then(|place| place.open()).map_err(|error| error.to_string())?;
            if store.take(*minute).map_err(|error| error.to_string())? {
                return Err(format!("minute {minute} would be fired again"));
            }
        }
        Fact::Leaving { .. } | Fact::Stays { .. } => {}
    }
    Ok(())
}

/// The path in the spool: the same in whatever directory it is laid out.
fn relative(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.rsplit_once("/spool/").map_or_else(|| text.to_string(), |(_, name)| name.to_owned())
}

/// Does what a start does to all files.
fn recover(spool: &SpoolDir) -> Result<Tasks, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut tasks = Tasks::new();
    look_through(spool, spool.top(), "", &mut tasks)?;
    for priority in priorities(spool).map_err(text)? {
        if let Some(folder) = spool.priority_folder(&priority).map_err(text)? {
            let prefix = format!("{}/", String::from_utf8_lossy(priority.as_bytes()));
            look_through(spool, &folder, &prefix, &mut tasks)?;
        }
    }
    Ok(tasks)
}

fn look_through(
    spool: &SpoolDir,
    folder: &Folder,
    prefix: &str,
    tasks: &mut Tasks,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    for name in names(folder).map_err(text)? {
        let shown = format!("{prefix}{}", String::from_utf8_lossy(&name));
        match claim(folder, &name, i64::MAX).map_err(text)? {
            Claimed::Task(claimed) => {
                let (_, mut content) = read_all(claimed.file.as_fd()).map_err(text)?;
                if TaskFile::parse(&content).is_ok() {
                    content[3] = 0;
                    tasks.insert(shown, content);
                    continue;
                }
                drop(claimed.file);
                put_aside(spool, folder, &name)?;
            }
            Claimed::Suspect(_) => put_aside(spool, folder, &name)?,
            Claimed::Gone | Claimed::NotATask => {}
            other => return Err(format!("`{shown}`: {other:?}")),
        }
    }
    Ok(())
}

fn put_aside(spool: &SpoolDir, folder: &Folder, name: &[u8]) -> Result<(), String> {
    let seen = folder.stat(name).map_err(|error| error.to_string())?.ok_or("it is gone")?;
    match quarantine(spool, folder, name, &seen) {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("not quarantined: {other:?}")),
    }
}

/// The contents of all files with a task's name, wherever they lie; empty ones left out.
fn contents(path: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if is_task_name(std::os::unix::ffi::OsStrExt::as_bytes(
            entry.file_name().as_os_str(),
        )) {
            let content = std::fs::read(&path).unwrap_or_default();
            if !content.is_empty() {
                found.push(content);
            }
        }
    }
    found
}
