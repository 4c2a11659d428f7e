//! Tasks of other machines: what is received, and what a start and a sender that asks again make of a
//! crash in it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use unspool_core::taskfile::{Intake, IntakeRules, TaskFile, TaskId, encode};
use unspool_core::{Message, Origin};
use unspool_spool::{Begun, Claimed, Reception, Source, SpoolDir, Stored, claim, complete};

use crate::judge::{Crash, Tasks};
use crate::scenarios::{Fact, Scenario, Story, empty, names, nothing, once, open};

const FROM: Source = Source { origin: Origin::Network, may_be_unsigned: false };
const DUE_S: u32 = 2_000_000_000;

pub(crate) const RECEIVING: &[Scenario] = &[
    once("receive the first one ever", nothing, |path, story, _| {
        send(&receiver(path)?, story, &task(1, "", 40))
    }),
    once("receive what is sent again", receives, |path, story, _| {
        let reception = receiver(path)?;
        send(&reception, story, &task(1, "", 40))?;
        send(&reception, story, &task(1, "", 40))
    }),
    once("receive with a priority, due later", receives, |path, story, _| {
        send(&receiver(path)?, story, &task(1, "5", 40))
    }),
    once("receive one in pieces", receives, |path, story, _| {
        send(&receiver(path)?, story, &task(1, "", 9000))
    }),
    once("receive three", receives, |path, story, _| {
        let reception = receiver(path)?;
        (1..4).try_for_each(|number| send(&reception, story, &task(number, "", 40)))
    }),
    once("receive, run, and hear of it again", receives, |path, story, _| {
        let reception = receiver(path)?;
        send(&reception, story, &task(1, "", 40))?;
        run(reception.spool(), story, 1)?;
        send(&reception, story, &task(1, "", 40))
    }),
    once("receive, start, run, start", receives, |path, story, _| {
        send(&receiver(path)?, story, &task(1, "", 40))?;
        let reception = receiver(path)?;
        run(reception.spool(), story, 1)?;
        receiver(path).map(drop)
    }),
    once("end what a receiver left", left, |path, story, _| {
        story.tell(Fact::Sent { file: task(1, "5", 40) });
        let reception = receiver(path)?;
        send(&reception, story, &task(2, "", 40))
    }),
];

/// A task as its sender has it.
fn task(number: u8, priority: &str, bytes: usize) -> Vec<u8> {
    let mut pairs = vec![(b"ud_spool_func".to_vec(), b"f".to_vec())];
    if !priority.is_empty() {
        pairs.push((b"priority".to_vec(), priority.as_bytes().to_vec()));
        pairs.push((b"at".to_vec(), DUE_S.to_string().into_bytes()));
    }
    let message = Message { pairs, body: vec![number; bytes], ..Message::default() };
    encode(&message, id(number), None).unwrap()
}

fn id(number: u8) -> TaskId {
    TaskId::new(1_795_417_858_508, [number; 10])
}

fn receiver(path: &Path) -> io::Result<Arc<Reception>> {
    Reception::open(Arc::new(open(path)?)).map(Arc::new)
}

/// Sends a task, which may have been sent before.
#[expect(clippy::unnecessary_wraps, reason = "a step of a scenario as others are")]
fn send(reception: &Arc<Reception>, story: &Story, file: &[u8]) -> io::Result<()> {
    story.tell(Fact::Sent { file: file.to_vec() });
    if take(reception, file).is_ok() {
        story.tell(Fact::Received { file: file.to_vec() });
    }
    Ok(())
}

fn take(reception: &Arc<Reception>, file: &[u8]) -> Result<Stored, String> {
    let text = |error: unspool_spool::ReceiveError| format!("{error}: {error:?}");
    let (head, rest) = file.split_at(head_bytes(file));
    match reception.begin(head, file.len() as u64, FROM).map_err(text)? {
        Begun::Stored(stored) => Ok(stored),
        Begun::Incoming(mut incoming) => {
            for piece in rest.chunks(4000) {
                incoming.write(piece).map_err(text)?;
            }
            incoming.store().map_err(text)
        }
    }
}

fn head_bytes(file: &[u8]) -> usize {
    4 + usize::from(u16::from_le_bytes([file[1], file[2]]))
}

/// Runs a task, as a worker does.
fn run(spool: &SpoolDir, story: &Story, number: u8) -> io::Result<()> {
    for name in names(spool.top())? {
        if let Claimed::Task(_held) = claim(spool.top(), &name, i64::MAX)? {
            story.tell(Fact::Running { id: id(number) });
            if complete(spool.top(), &name).is_ok() {
                story.tell(Fact::Ran { id: id(number) });
            }
        }
    }
    Ok(())
}

/// The folders are there.
fn receives(path: &Path) {
    empty(path);
    receiver(path).unwrap();
}

/// One that came whole, from a receiver that died before it said so.
fn left(path: &Path) {
    receives(path);
    let other = tempfile::tempdir().unwrap();
    receives(other.path());
    take(&receiver(other.path()).unwrap(), &task(1, "5", 40)).unwrap();
    let folder = other.path().join("spool/5");
    let entry = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let incoming = path.join("spool/.unspool/incoming").join(entry.file_name());
    std::fs::copy(entry.path(), incoming).unwrap();
}

/// The task's file in a spool.
pub(crate) fn stored(file: &[u8]) -> Vec<u8> {
    let rules = IntakeRules { origin: FROM.origin, verify: None, sign: None, priority: None };
    let (head, rest) = file.split_at(head_bytes(file));
    let mut intake = Intake::new(head, file.len() as u64, rules).unwrap();
    let mut content = [intake.start(), rest].concat();
    intake.push(rest);
    for patch in intake.finish().unwrap().patches {
        let at = patch.offset as usize;
        content[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    content
}

/// Has a receiver start, and all senders ask again that have not heard what became of their tasks.
pub(crate) fn send_again(spool: &Path, facts: &[Fact]) -> Result<(), String> {
    let heard = |sent: &[u8]| {
        facts.iter().any(|fact| matches!(fact, Fact::Received { file } if file == sent))
    };
    let sent = |fact: &Fact| match fact {
        Fact::Sent { file } if !heard(file) => Some(file.clone()),
        _ => None,
    };
    let files: Vec<Vec<u8>> = facts.iter().filter_map(sent).collect();
    if !facts.iter().any(|fact| matches!(fact, Fact::Sent { .. })) {
        return Ok(());
    }
    let spool = SpoolDir::open(spool).map_err(|error| error.to_string())?;
    let reception = Reception::open(Arc::new(spool)).map_err(|error| error.to_string())?;
    let reception = Arc::new(reception);
    files.iter().try_for_each(|file| take(&reception, file).map(drop))
}

/// Whether each task is where it has to be after that.
pub(crate) fn check(
    facts: &[Fact],
    spool: &Path,
    tasks: &Tasks,
    crash: Crash,
) -> Result<(), String> {
    facts.iter().try_for_each(|fact| match fact {
        Fact::Sent { file } => check_one(file, facts, spool, tasks, crash),
        _ => Ok(()),
    })
}

fn check_one(
    file: &[u8],
    facts: &[Fact],
    spool: &Path,
    tasks: &Tasks,
    crash: Crash,
) -> Result<(), String> {
    let task = TaskFile::parse(file).map_err(|error| error.to_string())?;
    let id = task.mark.ok_or("no mark")?.id;
    let began = facts.iter().any(|fact| matches!(fact, Fact::Running { id: it } if *it == id));
    let ran = facts.iter().any(|fact| matches!(fact, Fact::Ran { id: it } if *it == id));
    let start = format!("uwsgi_spoolfile_on_{id}_");
    let names: Vec<&String> = tasks
        .keys()
        .filter(|name| name.rsplit('/').next().is_some_and(|name| name.starts_with(&start)))
        .collect();
    let expected = match (began, ran, crash) {
        (false, ..) => 1..=1,
        // A power cut may undo the end of any task.
        (true, true, Crash::Processes) => 0..=0,
        (true, ..) => 0..=1,
    };
    if !expected.contains(&names.len()) {
        return Err(format!("task {id} is there {} times", names.len()));
    }
    let is_due_later = task.to_message().get(b"at").is_some();
    for name in names {
        let mtime = spool.join(name).metadata().map_err(|error| error.to_string())?.mtime();
        if is_due_later && mtime != i64::from(DUE_S) {
            return Err(format!("`{name}` is due at {mtime}"));
        }
    }
    Ok(())
}
