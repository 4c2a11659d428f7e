//! A process and all that descends from it: found, stopped, killed.
//!
//! Whatever a worker started goes with it, also what left its process group and its session. Three
//! things tell who belongs to it: parents, the process groups and sessions that it and its
//! descendants lead, and a mark in the environment for those whose parents are gone, which became
//! children of this process (the subreaper). The session that a zygote leads tells nothing: its
//! workers live in it. Whom to kill, and when, is not decided here.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::process::{self, Pid, PidfdFlags, Signal};

use crate::host;

/// Looks at all processes until one finds nobody new. Who is found is stopped, so that only what
/// was just being forked can be new.
const LOOKS_MAX: usize = 16;
/// Kills, each after such looks. More than one only where forks outran the looks.
const KILLS_MAX: usize = 4;
/// Bytes that are read of an environment: the mark is set before the application's variables.
const ENVIRONMENT_BYTES_MAX: u64 = 1 << 20;

/// What the kernel tells of a process.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
    /// When it started: with the number, it tells it from all others.
    started: u64,
}

/// The processes that are to go.
#[derive(Debug, Default)]
struct Found {
    held: HashMap<u32, OwnedFd>,
    /// Process groups that one of them leads.
    groups: HashSet<u32>,
    /// Sessions that one of them leads, but for that of the first.
    sessions: HashSet<u32>,
}

/// Kills a process that is not reaped yet and all its descendants. Returns how many there were.
///
/// `mark` is what the environment of orphans holds that belong to it; children of this process that
/// are `known` to be others are not asked for theirs. `root` leads its process group, if it has come
/// so far.
pub fn kill_descent(root: u32, mark: &[u8], known: &dyn Fn(u32) -> bool) -> usize {
    let mut all = HashSet::new();
    for _ in 0..KILLS_MAX {
        let mut found = Found::default();
        found.groups.insert(root);
        if let Some(entry) = read(root) {
            found.stop(entry);
            found.sessions.remove(&root);
        }
        let settled = (0..LOOKS_MAX).any(|_| !found.look(mark, known));
        for (pid, fd) in &found.held {
            let _ = process::pidfd_send_signal(fd, Signal::KILL);
            all.insert(*pid);
        }
        if settled {
            break;
        }
    }
    all.len()
}

impl Found {
    /// Looks at all processes once. Returns whether somebody belongs to these who was not held.
    ///
    /// Who belongs is stopped the moment that it is seen: one that forks and ends all the time is
    /// not there for longer.
    fn look(&mut self, mark: &[u8], known: &dyn Fn(u32) -> bool) -> bool {
        let me = host::pid();
        let (mut others, mut found) = (Vec::new(), false);
        for pid in pids() {
            if pid == me || self.held.contains_key(&pid) {
                continue;
            }
            let Some(entry) = read(pid) else { continue };
            if self.has(entry) || is_orphan(entry, me, mark, known) {
                found = true;
                self.stop(entry);
            } else {
                others.push(entry);
            }
        }
        // Parents may have higher numbers than their children.
        loop {
            let before = others.len();
            others.retain(|entry| {
                let belongs = self.has(*entry);
                if belongs {
                    self.stop(*entry);
                }
                !belongs
            });
            if others.len() == before {
                return found;
            }
            found = true;
        }
    }

    fn has(&self, entry: Entry) -> bool {
        self.held.contains_key(&entry.parent)
            || self.groups.contains(&entry.group)
            || self.sessions.contains(&entry.session)
    }

    /// Stops a process and keeps hold of it, unless it has ended meanwhile.
    fn stop(&mut self, entry: Entry) {
        let Some(pid) = Pid::from_raw(entry.pid as i32) else { return };
        let Ok(fd) = process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        // Opened by a number: whoever has it now must be the one that was seen.
        if read(entry.pid).is_none_or(|now| now.started != entry.started) {
            return;
        }
        let _ = process::pidfd_send_signal(&fd, Signal::STOP);
        if entry.group == entry.pid {
            self.groups.insert(entry.group);
        }
        if entry.session == entry.pid {
            self.sessions.insert(entry.session);
        }
        self.held.insert(entry.pid, fd);
    }
}

/// The numbers of all processes that can be seen.
fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: u32) -> Option<Entry> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &line)
}

/// The name of a process stands in brackets and may hold any byte; after it come numbers.
fn parse(pid: u32, line: &[u8]) -> Option<Entry> {
    let after = line.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&line[after..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let group = fields.get(2)?.parse().ok()?;
    let session = fields.get(3)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    Some(Entry { pid, parent, group, session, started })
}

fn is_orphan(entry: Entry, me: u32, mark: &[u8], known: &dyn Fn(u32) -> bool) -> bool {
    entry.parent == me && !known(entry.pid) && is_marked(entry.pid, mark)
}

fn is_marked(pid: u32, mark: &[u8]) -> bool {
    use std::io::Read;
    let Ok(file) = std::fs::File::open(format!("/proc/{pid}/environ")) else { return false };
    let mut bytes = Vec::new();
    let read = file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes);
    read.is_ok() && bytes.split(|byte| *byte == 0).any(|variable| variable == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let line = b"7 (a) b (c) S 3 5 6 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let entry = parse(7, line).unwrap();
        assert_eq!((entry.parent, entry.group, entry.session, entry.started), (3, 5, 6, 4711));
        assert!(parse(7, b"7 (a) S 3").is_none());
        assert!(parse(7, b"").is_none());
    }

    #[test]
    fn this_process_is_seen() {
        let me = host::pid();
        let parent = read(me).unwrap().parent;
        assert!(pids().any(|pid| pid == me) && (pids().any(|pid| pid == parent) || parent == 0));
        assert!(!is_marked(me, b"UNSPOOL_NOBODY=1"));
    }
}
